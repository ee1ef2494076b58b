"""Files that lunasched keeps outside its databases: units, slot lists, runtime files, the lock.

Each module owns one directory or file. The use cases call it; no module calls another.
"""
