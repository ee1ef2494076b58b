"""Problems of an installation: ``examination`` looks, ``diagnosis`` judges, and names fixes.

Only the CLI calls it; it changes nothing.
"""
