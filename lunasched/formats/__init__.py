"""The syntax of what people and systemd write: YAML, TOML, unit files, templates, command lines.

Pure: text in, plain values out, and back. Any room may call it; it knows no job.
"""
