-- The entries of crontabs that jobs were made of. A line is 0 for a script of a directory.

CREATE TABLE origins (
    job TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    line INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;

CREATE INDEX origins_by_source ON origins (source);
