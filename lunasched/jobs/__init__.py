"""Jobs as they were asked for: their model, their keys, and what may be written in each.

Pure. A ``Job`` comes from here; every room above reads it.
"""
