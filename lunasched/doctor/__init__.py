"""Problems of an installation: a check is one file, which looks and judges, and names fixes.

Only the CLI calls it: ``examination`` has every check look, ``diagnosis`` has every check judge. It
changes nothing.
"""
