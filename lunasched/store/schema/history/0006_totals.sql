-- What is counted of each job's runs, whether or not they are still in the history: counters that
-- never go down. A run counts once, in the transaction that settles it; skipped ones apart.
CREATE TABLE job_totals (
    job TEXT PRIMARY KEY,
    successes INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    stopped INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    -- Those of them that were attempts after the first.
    retries INTEGER NOT NULL DEFAULT 0,
    -- Those that a timer had started, skipped ones included.
    elapses INTEGER NOT NULL DEFAULT 0,
    -- Microseconds, of the runs that they are known of; of skipped ones, none.
    took_usec INTEGER NOT NULL DEFAULT 0,
    cpu_usec INTEGER NOT NULL DEFAULT 0,
    -- How long the latest 100 runs took: microseconds, 14 digits each, the newest last.
    durations TEXT NOT NULL DEFAULT ''
) STRICT;

INSERT INTO job_totals (job, successes, failures, stopped, skipped, retries, elapses, took_usec,
    cpu_usec)
SELECT job, sum(runs * (result = 'success')),
    sum(runs * (result NOT IN ('success', 'stopped', 'skipped'))), sum(runs * (result = 'stopped')),
    sum(runs * (result = 'skipped')), sum(retries), sum(elapses),
    sum(took_usec * (result <> 'skipped')), sum(cpu_usec)
FROM (
    SELECT job, result, runs, retries, 0 AS elapses, took_usec, cpu_usec FROM pruned_runs
    UNION ALL
    SELECT job, coalesce(result, ''), sum(settled), sum(settled AND attempt > 1),
        sum(settled AND "trigger" IN ('timer', 'catch-up')),
        sum(settled * max(0, coalesce(ended_at - started_at, 0))), sum(coalesce(cpu_usec, 0))
    FROM runs GROUP BY job, result)
GROUP BY job;

UPDATE job_totals SET durations = coalesce((
    SELECT group_concat(printf('%014d', took), '') FROM (
        SELECT sequence, min(99999999999999, max(0, ended_at - started_at)) AS took FROM (
            SELECT sequence, started_at, ended_at FROM runs
            WHERE runs.job = job_totals.job AND result IS NOT 'skipped' AND settled = 1
                AND ended_at IS NOT NULL
            ORDER BY sequence DESC LIMIT 100)
        ORDER BY sequence)), '');

-- They are counted as they end now, no longer as they go.
DROP TABLE pruned_runs;

-- Up to when each job's slots have been looked at, and those that passed without a run.
CREATE TABLE checked_slots (
    job TEXT PRIMARY KEY,
    checked_until INTEGER NOT NULL,
    -- The latest that it has been: later than it is where the clock was set back since.
    highest INTEGER NOT NULL,
    -- This run and all before it had been over by then.
    checked_sequence INTEGER NOT NULL,
    missed INTEGER NOT NULL DEFAULT 0,
    -- Those that were found last.
    last_missed INTEGER NOT NULL DEFAULT 0,
    first_missed_at INTEGER,
    last_missed_at INTEGER
) STRICT, WITHOUT ROWID;

-- What passed before there was this table was not looked at, and does not count.
INSERT INTO checked_slots (job, checked_until, highest, checked_sequence)
SELECT name, 1000000 * strftime('%s'), 1000000 * strftime('%s'),
    coalesce((SELECT max(sequence) FROM runs), 0)
FROM jobs;

-- What became of messages, by type of channel: they, too, are pruned. Here and not beside each
-- statement that settles some, so that none is left out or counted twice.
CREATE TABLE message_totals (
    type TEXT NOT NULL,
    state TEXT NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (type, state)
) STRICT, WITHOUT ROWID;

INSERT INTO message_totals (type, state, messages)
SELECT type, state, count(*) FROM outbox WHERE settled_at IS NOT NULL GROUP BY type, state;

CREATE TRIGGER message_settled AFTER UPDATE OF settled_at ON outbox
WHEN OLD.settled_at IS NULL AND NEW.settled_at IS NOT NULL
BEGIN
    INSERT INTO message_totals (type, state, messages) VALUES (NEW.type, NEW.state, 1)
    ON CONFLICT (type, state) DO UPDATE SET messages = messages + 1;
END;
