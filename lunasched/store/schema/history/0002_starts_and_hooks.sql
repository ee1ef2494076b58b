-- What the supervisor has to start: retries at their time, jobs that wait, jobs whose dependencies
-- have all succeeded. A row is written in the transaction of its cause, claimed before systemd is
-- asked, and deleted in the transaction that records the start:
--
--     waiting (claimed_at IS NULL) -> claimed -> gone
--        ^---------------------------'  the journal does not have the start
CREATE TABLE starts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    unit TEXT NOT NULL,
    "trigger" TEXT NOT NULL,
    scheduled_at INTEGER,
    due_at INTEGER NOT NULL,
    -- Higher goes first: the rank of the job's priority.
    priority INTEGER NOT NULL,
    exclusive INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 1,
    first_attempt_id TEXT,
    -- The failed run that a retry follows.
    failed_id TEXT UNIQUE,
    created_at INTEGER NOT NULL,
    claimed_at INTEGER,
    tries INTEGER NOT NULL DEFAULT 0
) STRICT;

-- However often a job is triggered while it waits, it runs once.
CREATE UNIQUE INDEX starts_once ON starts (unit) WHERE failed_id IS NULL;
CREATE INDEX starts_of_job ON starts (job);

-- Who depends on whom, as the definitions of the jobs have it.
CREATE TABLE dependencies (
    job TEXT NOT NULL,
    depends_on TEXT NOT NULL,
    PRIMARY KEY (depends_on, job)
) STRICT, WITHOUT ROWID;

CREATE INDEX dependencies_of_job ON dependencies (job);

-- The hooks of runs, each once:
--
--     waiting -> claimed -> started (hook_execution_id) -> ended (result)
CREATE TABLE hooks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL,
    event TEXT NOT NULL,
    job TEXT NOT NULL,
    unit TEXT NOT NULL,
    facts TEXT NOT NULL CHECK (json_valid(facts)),
    created_at INTEGER NOT NULL,
    claimed_at INTEGER,
    tries INTEGER NOT NULL DEFAULT 0,
    hook_execution_id TEXT UNIQUE,
    spawn_failed INTEGER NOT NULL DEFAULT 0,
    ended_at INTEGER,
    result TEXT,
    exit_code INTEGER,
    signal INTEGER,
    UNIQUE (execution_id, event)
) STRICT;

CREATE INDEX hooks_open ON hooks (unit, id) WHERE result IS NULL;

-- Whether what follows from the end of a run (a retry, hooks, dependents) is in these tables.
ALTER TABLE runs ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET settled = 1 WHERE phase = 'ended';
CREATE INDEX runs_unsettled ON runs (sequence) WHERE phase = 'ended' AND settled = 0;

CREATE INDEX jobs_by_mode ON jobs (json_extract(definition, '$.execution_mode'));
