-- What is left of runs that were removed from the history: sums, for counters that never go down.
CREATE TABLE pruned_runs (
    job TEXT NOT NULL,
    result TEXT NOT NULL,
    runs INTEGER NOT NULL,
    -- Those of them that were tried again: attempts after the first.
    retries INTEGER NOT NULL,
    -- Microseconds, of the runs that they are known of.
    took_usec INTEGER NOT NULL,
    cpu_usec INTEGER NOT NULL,
    PRIMARY KEY (job, result)
) STRICT, WITHOUT ROWID;

-- Where to look for runs that are old, for all attempts of a chain, and for the runs of a job that
-- stay however old they are.
CREATE INDEX runs_by_age ON runs (started_at);
CREATE INDEX runs_of_chain ON runs (first_attempt_id) WHERE first_attempt_id IS NOT NULL;
CREATE INDEX runs_succeeded ON runs (job) WHERE result = 'success';
CREATE INDEX runs_not_skipped ON runs (job) WHERE result IS NOT 'skipped';
DROP INDEX runs_slots;
CREATE INDEX runs_slots ON runs (job) WHERE scheduled_at IS NOT NULL AND result IS NOT 'skipped';
