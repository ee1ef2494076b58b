"""Jobs as they were defined: their model, their keys, and the values that each key takes.

Pure. A ``Job`` comes from here; every room above reads it.
"""
