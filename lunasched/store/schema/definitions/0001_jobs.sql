-- Times are microseconds since the epoch, UTC.

CREATE TABLE jobs (
    name TEXT PRIMARY KEY,
    definition TEXT NOT NULL CHECK (json_valid(definition)),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX jobs_by_mode ON jobs (json_extract(definition, '$.execution_mode'));

CREATE TABLE dependencies (
    job TEXT NOT NULL,
    depends_on TEXT NOT NULL,
    PRIMARY KEY (depends_on, job)
) STRICT;

CREATE INDEX dependencies_of_job ON dependencies (job);
