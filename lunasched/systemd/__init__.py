"""The service manager over D-Bus, its journal, and what ``systemd-analyze verify`` says.

The only importer of pydbus and, beside the supervisor, of gi. The use cases and the CLI call it.
"""
