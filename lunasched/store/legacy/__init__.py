"""Databases of Lunasched 1.x, recognised and turned into ours.

The tables of 1.x are ``jobs`` and ``history``, and since its schema versions 1 to 3
``schema_version`` and others. Imported only where a database is not ours.
"""

from __future__ import annotations

from lunasched.store.legacy.migration import is_legacy, migrate_legacy
from lunasched.store.legacy.migrationreport import MigrationReport

__all__ = ["MigrationReport", "is_legacy", "migrate_legacy"]
