-- name: job_names
SELECT name FROM jobs ORDER BY name;

-- name: all_jobs
SELECT definition FROM jobs ORDER BY name;

-- name: one_job
SELECT definition, updated_at FROM jobs WHERE name = :name;

-- name: put_job
INSERT INTO jobs (name, definition, created_at, updated_at)
VALUES (:name, :definition, :now, :now)
ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, updated_at = excluded.updated_at;

-- name: delete_job
DELETE FROM jobs WHERE name = :name;

-- name: job_times
SELECT name, updated_at FROM jobs;

-- name: history_of_job
SELECT * FROM runs WHERE job = :job ORDER BY sequence DESC LIMIT :count;

-- name: history_of_all
SELECT * FROM runs ORDER BY sequence DESC LIMIT :count;

-- name: run
SELECT * FROM runs WHERE execution_id = :execution_id;

-- name: latest_runs
SELECT execution_id, job, unit, "trigger", scheduled_at, started_at, ended_at, result, exit_code,
    signal, attempt, first_attempt_id, cpu_usec, memory_peak, NULL AS output
FROM runs WHERE sequence IN (
    SELECT (SELECT sequence FROM runs WHERE runs.job = jobs.name
            ORDER BY sequence DESC LIMIT 1)
    FROM jobs);

-- name: next_start
SELECT following.started_at FROM runs AS following, runs AS this
WHERE this.execution_id = :execution_id AND following.job = this.job
    AND following.unit = this.unit AND following.sequence > this.sequence
ORDER BY following.sequence LIMIT 1;

-- name: last_start
SELECT started_at FROM runs WHERE job = :job AND result IS NOT 'skipped'
ORDER BY sequence DESC LIMIT 1;

-- name: last_slot
SELECT scheduled_at FROM runs
WHERE job = :job AND scheduled_at IS NOT NULL AND result IS NOT 'skipped'
    AND execution_id <> :but
ORDER BY sequence DESC LIMIT 1;

-- name: ran_in_boot
SELECT coalesce((SELECT boot_id = :boot_id FROM runs WHERE job = :job
    ORDER BY sequence DESC LIMIT 1), 0);

-- name: has_runs
SELECT EXISTS (SELECT 1 FROM runs WHERE job = :job);

-- name: begin_run
INSERT INTO runs (execution_id, job, unit, boot_id, phase, "trigger", scheduled_at, started_at)
VALUES (:execution_id, :job, :unit, :boot_id, 'starting', :trigger, :scheduled_at, :started_at)
ON CONFLICT (execution_id) DO NOTHING;

-- name: run_running
UPDATE runs SET phase = 'running' WHERE execution_id = :execution_id AND phase = 'starting';

-- name: run_stopping
UPDATE runs SET stop_requested = 1 WHERE execution_id = :execution_id AND phase <> 'ended';

-- name: run_process_ended
UPDATE runs SET exit_code = :exit_code, signal = :signal
WHERE execution_id = :execution_id AND (phase <> 'ended' OR result = 'lost');

-- name: end_run
UPDATE runs SET phase = 'ended', result = :result, ended_at = :ended_at,
    exit_code = CASE :result WHEN 'success' THEN 0 ELSE exit_code END
WHERE execution_id = :execution_id AND (phase <> 'ended' OR result = 'lost');

-- name: skip_run
UPDATE runs SET phase = 'ended', result = 'skipped', ended_at = :ended_at, "trigger" = 'timer',
    scheduled_at = :slot
WHERE execution_id = :execution_id AND (phase <> 'ended' OR result = 'lost');

-- name: run_resources
UPDATE runs SET cpu_usec = coalesce(:cpu_usec, cpu_usec),
    memory_peak = coalesce(:memory_peak, memory_peak)
WHERE execution_id = :execution_id;

-- name: run_spawn_failed
INSERT INTO spawn_failures (execution_id, exit_code, seen_at)
VALUES (:execution_id, :exit_code, :at)
ON CONFLICT (execution_id) DO UPDATE SET exit_code = coalesce(excluded.exit_code, exit_code);

-- name: run_state
SELECT stop_requested, phase = 'starting' AND EXISTS (
    SELECT 1 FROM spawn_failures WHERE execution_id = :execution_id) AS spawn_failed,
    (SELECT exit_code FROM spawn_failures WHERE execution_id = :execution_id) AS spawn_exit_code
FROM runs WHERE execution_id = :execution_id;

-- name: open_runs
SELECT execution_id, unit, boot_id FROM runs WHERE phase <> 'ended' ORDER BY sequence;

-- name: open_runs_of_unit
SELECT execution_id FROM runs
WHERE phase <> 'ended' AND unit = :unit AND execution_id <> :but AND boot_id = :boot_id;

-- name: correct_signal
UPDATE runs SET result = 'signal', signal = :signal, exit_code = NULL
WHERE execution_id = :execution_id AND result = 'success';

-- name: runs_without_output
SELECT execution_id, unit, result, started_at, ended_at, (
    SELECT following.started_at FROM runs AS following
    WHERE following.job = runs.job AND following.unit = runs.unit
        AND following.sequence > runs.sequence ORDER BY following.sequence LIMIT 1) AS next_start
FROM runs WHERE phase = 'ended' AND output IS NULL;

-- name: set_output
UPDATE runs SET output = :output WHERE execution_id = :execution_id;

-- name: put_requested_start
INSERT INTO requested_starts (execution_id, "trigger", requested_at)
VALUES (:execution_id, :trigger, :now) ON CONFLICT (execution_id) DO NOTHING;

-- name: correct_trigger
UPDATE runs SET "trigger" = :trigger, scheduled_at = NULL WHERE execution_id = :execution_id;

-- name: requested_start
SELECT "trigger" FROM requested_starts WHERE execution_id = :execution_id;

-- name: forget_requested_starts
DELETE FROM requested_starts WHERE requested_at < :before;

-- name: forget_spawn_failures
DELETE FROM spawn_failures WHERE seen_at < :before;

-- name: cursor
SELECT cursor FROM journal_position;

-- name: set_cursor
INSERT INTO journal_position (only_row, cursor) VALUES (1, :cursor)
ON CONFLICT (only_row) DO UPDATE SET cursor = excluded.cursor;
