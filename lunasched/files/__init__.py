"""Files of jobs and settings: read, checked, described by a JSON Schema, and written again.

Pure: text in, jobs and settings out. The use cases and the CLI call it.
"""
