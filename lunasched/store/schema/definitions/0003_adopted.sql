-- Entries of crontabs whose jobs are of no crontab any more: they make no jobs again.

CREATE TABLE adopted (
    job TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
