"""Limits on what a file may ask of its reader."""

from __future__ import annotations

from lunasched.errors import InvalidInput

BYTES_MAX = 32 << 20
"""A job takes some 300 bytes, with everything in it some 2,000."""

DEPTH_MAX = 50
VALUES_MAX = 2_000_000
"""Values in a file, those of an alias counted each time it is used."""


class InvalidDocument(InvalidInput):
    """A file that is not in the form that it should be in."""
