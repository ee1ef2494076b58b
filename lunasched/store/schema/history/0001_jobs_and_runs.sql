-- Times are microseconds since the epoch, UTC; identifiers 32 hexadecimal digits.

CREATE TABLE jobs (
    name TEXT PRIMARY KEY,
    definition TEXT NOT NULL CHECK (json_valid(definition)),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- A run is its invocation. `phase` is where its records have brought it:
-- starting -> running -> ended, or starting -> ended where the program ended at once or could
-- not be executed (spawn_failures).
CREATE TABLE runs (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL,
    unit TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    phase TEXT NOT NULL CHECK (phase IN ('starting', 'running', 'ended')),
    stop_requested INTEGER NOT NULL DEFAULT 0,
    "trigger" TEXT NOT NULL,
    scheduled_at INTEGER,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    result TEXT,
    exit_code INTEGER,
    signal INTEGER,
    attempt INTEGER NOT NULL DEFAULT 1,
    first_attempt_id TEXT,
    cpu_usec INTEGER,
    memory_peak INTEGER,
    output TEXT
) STRICT;

-- Rows are in the order of the journal, which the clock may not be: sequence is what is new.
CREATE INDEX runs_of_job ON runs (job);
CREATE INDEX runs_slots ON runs (job) WHERE scheduled_at IS NOT NULL;
CREATE INDEX runs_open ON runs (execution_id) WHERE phase <> 'ended';
CREATE INDEX runs_without_output ON runs (execution_id) WHERE phase = 'ended' AND output IS NULL;

-- Starts that somebody asked for by hand: the journal does not tell them from a timer's.
-- A row is written before the supervisor may have seen the run, or after.
CREATE TABLE requested_starts (
    execution_id TEXT PRIMARY KEY,
    "trigger" TEXT NOT NULL,
    requested_at INTEGER NOT NULL
) STRICT;

-- Runs whose program could not be executed. The child that failed says so, possibly before the
-- manager says that it started it.
CREATE TABLE spawn_failures (
    execution_id TEXT PRIMARY KEY,
    exit_code INTEGER,
    seen_at INTEGER NOT NULL
) STRICT;

-- How far the journal was read; written in the transaction of the rows that it gave.
CREATE TABLE journal_position (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    cursor TEXT NOT NULL
) STRICT;
