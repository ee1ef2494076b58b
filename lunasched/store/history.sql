-- name: history_of_job
SELECT * FROM runs WHERE job = :job AND sequence < :before ORDER BY sequence DESC LIMIT :count;

-- name: history_of_all
SELECT * FROM runs WHERE sequence < :before ORDER BY sequence DESC LIMIT :count;

-- name: run
SELECT * FROM runs WHERE execution_id = :execution_id;

-- name: final_run
SELECT * FROM runs WHERE execution_id = :execution_id AND settled = 1;

-- name: latest_runs_of
SELECT {facts}, NULL AS output FROM runs WHERE sequence IN (
    SELECT (SELECT sequence FROM runs WHERE runs.job = wanted.value
            ORDER BY sequence DESC LIMIT 1)
    FROM json_each(:jobs) AS wanted);

-- name: latest_outcomes
SELECT {facts}, NULL AS output FROM runs WHERE sequence IN (
    SELECT (SELECT sequence FROM runs
            WHERE runs.job = wanted.value AND result IS NOT 'skipped' AND phase = 'ended'
            ORDER BY sequence DESC LIMIT 1)
    FROM json_each(:jobs) AS wanted);

-- name: running_jobs
-- With the plus, the few open runs are grouped, and not all runs looked through in groups.
SELECT job, min(started_at) AS started_at FROM runs WHERE phase <> 'ended' GROUP BY +job;

-- name: page_of_all
SELECT * FROM runs WHERE started_at >= :since AND (started_at, sequence) < (:at, :before)
ORDER BY started_at DESC, sequence DESC LIMIT :count;

-- name: page_of_job
SELECT * FROM runs
WHERE job = :job AND started_at >= :since AND (started_at, sequence) < (:at, :before)
ORDER BY started_at DESC, sequence DESC LIMIT :count;

-- name: recent_runs
SELECT {facts}, NULL AS output FROM runs WHERE job = :job ORDER BY started_at DESC, sequence DESC LIMIT :count;

-- name: marks
-- Before it, only the run that began last can reach into the time that is shown.
WITH shown AS (
    SELECT runs.job, runs.started_at, runs.ended_at, runs.result
    FROM json_each(:jobs) AS wanted CROSS JOIN runs
    WHERE runs.job = wanted.value AND runs.started_at >= :since
    UNION ALL
    SELECT runs.job, runs.started_at, runs.ended_at, runs.result
    FROM json_each(:jobs) AS wanted CROSS JOIN runs
    WHERE runs.sequence = (
            SELECT sequence FROM runs AS earlier
            WHERE earlier.job = wanted.value AND earlier.started_at < :since
            ORDER BY earlier.started_at DESC LIMIT 1)
        AND (runs.ended_at > :since OR runs.result IS NULL))
SELECT job, CASE
        WHEN result IS NULL THEN 'running'
        WHEN result = 'success' THEN 'success'
        WHEN result IN ('skipped', 'stopped') THEN 'neutral'
        ELSE 'failure' END AS kind,
    min(started_at) AS started_at, max(ended_at) AS ended_at, count(*) AS how_many
FROM shown GROUP BY job, kind, (started_at - :since) / :step ORDER BY 1, 3;

-- name: next_start
SELECT following.started_at FROM runs AS following, runs AS this
WHERE this.execution_id = :execution_id AND following.job = this.job
    AND following.unit = this.unit AND following.sequence > this.sequence
ORDER BY following.sequence LIMIT 1;

-- name: last_start
SELECT started_at FROM runs WHERE job = :job AND result IS NOT 'skipped'
ORDER BY sequence DESC LIMIT 1;

-- name: jobs_without_a_run
SELECT json_extract(wanted.value, '$[0]') AS job FROM json_each(:jobs) AS wanted
WHERE json_extract(wanted.value, '$[1]') > coalesce((
    SELECT started_at FROM runs
    WHERE runs.job = json_extract(wanted.value, '$[0]') AND runs.result IS NOT 'skipped'
    ORDER BY sequence DESC LIMIT 1
), 0);

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
INSERT INTO runs (execution_id, job, unit, boot_id, phase, "trigger", scheduled_at, started_at,
    started_since_boot, attempt, first_attempt_id)
VALUES (:execution_id, :job, :unit, :boot_id, 'starting', :trigger, :scheduled_at, :started_at,
    :since_boot, :attempt, :first_attempt_id)
ON CONFLICT (execution_id) DO NOTHING;

-- name: run_running
UPDATE runs SET phase = 'running' WHERE execution_id = :execution_id AND phase = 'starting'
RETURNING execution_id;

-- name: run_stopping
UPDATE runs SET stop_requested = 1 WHERE execution_id = :execution_id AND phase <> 'ended';

-- name: run_process_ended
UPDATE runs SET exit_code = :exit_code, signal = :signal
WHERE execution_id = :execution_id AND (phase <> 'ended' OR result = 'lost');

-- name: end_run
UPDATE runs SET phase = 'ended', result = :result, ended_at = :ended_at,
    ended_since_boot = :since_boot,
    exit_code = CASE :result WHEN 'success' THEN coalesce(exit_code, 0) ELSE exit_code END
WHERE execution_id = :execution_id AND (phase <> 'ended' OR result = 'lost');

-- name: skip_run
UPDATE runs SET phase = 'ended', result = 'skipped', ended_at = :ended_at, "trigger" = 'timer',
    scheduled_at = :slot
WHERE execution_id = :execution_id AND (phase <> 'ended' OR result = 'lost');

-- name: count_cpu
INSERT INTO job_totals (job, cpu_usec)
SELECT job, max(0, :cpu_usec - coalesce(cpu_usec, 0)) FROM runs
WHERE execution_id = :execution_id AND :cpu_usec IS NOT NULL
ON CONFLICT (job) DO UPDATE SET cpu_usec = cpu_usec + excluded.cpu_usec;

-- name: run_resources
UPDATE runs SET cpu_usec = coalesce(:cpu_usec, cpu_usec),
    memory_peak = coalesce(:memory_peak, memory_peak)
WHERE execution_id = :execution_id;

-- name: run_spawn_failed
INSERT INTO spawn_failures (execution_id, exit_code, seen_at)
VALUES (:execution_id, :exit_code, :at)
ON CONFLICT (execution_id) DO UPDATE SET exit_code = coalesce(excluded.exit_code, exit_code);

-- name: run_state
-- What a child of the manager says of itself holds where the manager's own record of its end agrees.
SELECT stop_requested, phase = 'starting' AND EXISTS (
    SELECT 1 FROM spawn_failures AS said WHERE said.execution_id = :execution_id
        AND runs.signal IS NULL AND (runs.exit_code IS NULL OR (runs.exit_code BETWEEN 200 AND 299
            AND coalesce(said.exit_code, runs.exit_code) = runs.exit_code))) AS spawn_failed,
    (SELECT exit_code FROM spawn_failures WHERE execution_id = :execution_id) AS spawn_exit_code
FROM runs WHERE execution_id = :execution_id;

-- name: open_runs
SELECT execution_id, job, unit, boot_id, phase FROM runs WHERE phase <> 'ended'
ORDER BY sequence;

-- name: open_runs_of_unit
SELECT execution_id FROM runs
WHERE phase <> 'ended' AND unit = :unit AND execution_id <> :but AND boot_id = :boot_id;

-- name: run_begun_between
SELECT phase FROM runs WHERE job = :job AND unit = :unit AND started_at >= :since
    AND (:until IS NULL OR started_at < :until) ORDER BY started_at LIMIT 1;

-- name: correct_signal
UPDATE runs SET result = 'signal', signal = :signal, exit_code = NULL
WHERE execution_id = :execution_id AND result = 'success';

-- name: correct_stopped
UPDATE runs SET result = 'stopped' WHERE execution_id = :execution_id AND phase = 'ended'
    AND settled = 0 AND result IN ('signal', 'exit-code') AND ended_at >= :since;

-- name: runs_without_output
SELECT execution_id, unit, result, started_at, ended_at, (
    SELECT following.started_at FROM runs AS following
    WHERE following.job = runs.job AND following.unit = runs.unit
        AND following.sequence > runs.sequence ORDER BY following.sequence LIMIT 1) AS next_start
FROM runs WHERE phase = 'ended' AND output IS NULL;

-- name: unsettled_runs
SELECT execution_id, job, unit, result, ended_at FROM runs WHERE phase = 'ended' AND settled = 0
ORDER BY sequence;

-- name: jobs_not_done
SELECT job FROM runs WHERE phase <> 'ended' AND job IN (SELECT value FROM json_each(:jobs))
UNION SELECT job FROM runs WHERE phase = 'ended' AND settled = 0
UNION SELECT job FROM starts
UNION SELECT job FROM hooks WHERE result IS NULL
UNION SELECT job FROM outbox WHERE state IN ('waiting', 'held');

-- name: count_settled
INSERT INTO job_totals (job, successes, failures, stopped, skipped, retries, elapses, overrun,
    took_usec, durations)
SELECT job, result = 'success', result NOT IN ('success', 'stopped', 'skipped'),
    result = 'stopped', result = 'skipped', attempt > 1, "trigger" IN ('timer', 'catch-up'), overrun,
    (result <> 'skipped') * max(0, coalesce(ended_at - started_at, 0)),
    CASE WHEN result = 'skipped' OR ended_at IS NULL THEN ''
        ELSE printf('%014d', min(99999999999999, max(0, ended_at - started_at))) END
FROM runs WHERE execution_id = :execution_id AND phase = 'ended' AND settled = 0
ON CONFLICT (job) DO UPDATE SET successes = successes + excluded.successes,
    failures = failures + excluded.failures, stopped = stopped + excluded.stopped,
    skipped = skipped + excluded.skipped, retries = retries + excluded.retries,
    elapses = elapses + excluded.elapses, overrun = overrun + excluded.overrun, took_usec = took_usec + excluded.took_usec,
    durations = substr(durations || excluded.durations, -1400);

-- name: set_overrun
UPDATE runs SET overrun = :count, overrun_first_at = :first_at, overrun_last_at = :last_at
WHERE execution_id = :execution_id;

-- name: open_runs_of_job
SELECT * FROM runs INDEXED BY runs_open_of_job WHERE job = :job AND phase <> 'ended'
ORDER BY sequence;

-- name: set_settled
UPDATE runs SET settled = 1 WHERE execution_id = :execution_id;

-- name: add_to_output
UPDATE runs SET output = output || :note WHERE output NOT LIKE '%' || :note AND execution_id = (
    SELECT before.execution_id FROM runs AS before JOIN runs AS this ON
        before.job = this.job AND before.unit = this.unit AND before.sequence < this.sequence
    WHERE this.execution_id = :execution_id ORDER BY before.sequence DESC LIMIT 1);

-- name: set_output
UPDATE runs SET output = :output WHERE execution_id = :execution_id;

-- name: put_requested_start
INSERT INTO requested_starts (execution_id, "trigger", requested_at)
VALUES (:execution_id, :trigger, :now) ON CONFLICT (execution_id) DO NOTHING;

-- name: correct_trigger
UPDATE runs SET "trigger" = :trigger, scheduled_at = NULL WHERE execution_id = :execution_id;

-- name: take_slot
UPDATE runs SET scheduled_at = :slot WHERE execution_id = :execution_id;

-- name: requested_start
SELECT "trigger" FROM requested_starts WHERE execution_id = :execution_id;

-- name: note_launch
INSERT INTO requested_starts (execution_id, "trigger", requested_at, since_boot)
VALUES ('launch:' || :launch, :trigger, :at, :since_boot)
ON CONFLICT (execution_id) DO UPDATE SET "trigger" = excluded."trigger",
    requested_at = excluded.requested_at, since_boot = excluded.since_boot;

-- name: launch
SELECT "trigger", requested_at, since_boot FROM requested_starts
WHERE execution_id = 'launch:' || :launch;

-- name: forget_launch
DELETE FROM requested_starts WHERE execution_id = 'launch:' || :launch;

-- name: forget_launches
DELETE FROM requested_starts
WHERE execution_id BETWEEN 'launch:' AND 'launch;' AND requested_at < :before;

-- name: in_progress_at
-- The runs of a unit follow one another: only the last that began before the elapse can have been in
-- progress then. A run that ends logs it a moment before its timer can elapse once more. Where only
-- the clock is known of a run, it is compared by what the clock is ahead of the time since boot now.
SELECT coalesce((SELECT coalesce(ended_since_boot, ended_at - :ahead) > :since_boot + 10000
    FROM runs WHERE job = :job AND unit = :unit AND boot_id = :boot_id
        AND coalesce(started_since_boot, started_at - :ahead) < :since_boot
    ORDER BY sequence DESC LIMIT 1), 0);

-- name: used_elapse
SELECT requested_at FROM requested_starts
WHERE execution_id = 'elapse:' || :job AND "trigger" = :boot_id;

-- name: use_elapse
INSERT INTO requested_starts (execution_id, "trigger", requested_at)
VALUES ('elapse:' || :job, :boot_id, :since_boot)
ON CONFLICT (execution_id) DO UPDATE SET "trigger" = excluded."trigger",
    requested_at = excluded.requested_at;

-- name: forget_requested_starts
DELETE FROM requested_starts WHERE requested_at < :before
    AND NOT execution_id BETWEEN 'elapse:' AND 'elapse;';

-- name: forget_elapses
DELETE FROM requested_starts
WHERE execution_id BETWEEN 'elapse:' AND 'elapse;' AND "trigger" <> :boot_id;

-- name: forget_spawn_failures
DELETE FROM spawn_failures WHERE seen_at < :before;

-- name: cursor
SELECT cursor FROM journal_position;

-- name: set_cursor
INSERT INTO journal_position (only_row, cursor) VALUES (1, :cursor)
ON CONFLICT (only_row) DO UPDATE SET cursor = excluded.cursor;

-- name: later_run
-- Runs of one unit follow one another; those of a Parallel job do if one began after the other.
SELECT EXISTS (
    SELECT 1 FROM runs AS later, runs AS this
    WHERE this.execution_id = :execution_id AND later.job = this.job
        AND later.sequence > this.sequence
        AND (later.unit = this.unit OR later.started_at >= this.ended_at)
        AND later.phase <> 'starting' AND later.result IS NOT 'skipped');

-- name: latest_outcome
SELECT result, ended_at FROM runs WHERE job = :job AND result IS NOT 'skipped'
ORDER BY sequence DESC LIMIT 1;

-- name: last_of_chain
SELECT execution_id FROM runs
WHERE job = :job AND (first_attempt_id = :first OR execution_id = :first)
    AND result IS NOT 'skipped'
ORDER BY sequence DESC LIMIT 1;

-- name: put_start
INSERT INTO starts (job, unit, "trigger", scheduled_at, due_at, priority, exclusive, attempt,
    first_attempt_id, failed_id, created_at)
VALUES (:job, :unit, :trigger, :scheduled_at, :due_at, :priority, :exclusive, :attempt,
    :first_attempt_id, :failed_id, :created_at)
ON CONFLICT DO NOTHING;

-- name: all_starts
SELECT * FROM starts ORDER BY due_at, id;

-- name: claim_start
UPDATE starts SET claimed_at = :now, tries = tries + 1
WHERE id = :id AND claimed_at IS NULL RETURNING id;

-- name: unclaim_start
UPDATE starts SET claimed_at = NULL WHERE id = :id;

-- name: move_start
UPDATE OR REPLACE starts SET claimed_at = NULL, unit = :unit WHERE id = :id;

-- name: unclaim_unit
UPDATE starts SET claimed_at = NULL WHERE unit = :unit AND claimed_at IS NOT NULL RETURNING id;

-- name: claimed_start
SELECT id FROM starts WHERE unit = :unit AND claimed_at IS NOT NULL
    AND NOT (:began < claimed_at AND claimed_at <= :now);

-- name: take_claimed_start
-- Not a start that began before it was asked for: that is another, read late. Nor a retry where the
-- timer is known to have come first, which replaces it.
DELETE FROM starts WHERE id = (
    SELECT id FROM starts WHERE unit = :unit AND claimed_at IS NOT NULL
        AND NOT (:began < claimed_at AND claimed_at <= :now)
        AND NOT (:by_timer AND failed_id IS NOT NULL)
    ORDER BY id LIMIT 1)
RETURNING *;

-- name: take_replaced_starts
DELETE FROM starts WHERE job = :job AND (
    (failed_id IS NULL AND unit = :unit AND created_at <= :began)
    OR EXISTS (
        SELECT 1 FROM runs AS failed, runs AS this
        WHERE failed.execution_id = failed_id AND this.execution_id = :execution_id
            AND failed.sequence < this.sequence
            AND (failed.unit = this.unit OR failed.ended_at <= this.started_at)))
RETURNING *;

-- name: drop_start
DELETE FROM starts WHERE id = :id RETURNING *;

-- name: drop_starts_of_job
DELETE FROM starts WHERE job = :job RETURNING *;

-- name: drop_starts_before
DELETE FROM starts WHERE job = :job AND created_at <= :before RETURNING *;

-- name: jobs_with_something_to_do
SELECT job FROM starts
UNION SELECT job FROM hooks WHERE result IS NULL AND hook_execution_id IS NULL
UNION SELECT job FROM outages;

-- name: drop_retries_of_job
DELETE FROM starts WHERE job = :job AND failed_id IS NOT NULL RETURNING *;

-- name: put_hook
INSERT INTO hooks (execution_id, event, job, unit, facts, text, reader, created_at)
VALUES (:execution_id, :event, :job, :unit, :facts, :text, :reader, :created_at)
ON CONFLICT DO NOTHING;

-- name: next_hooks
SELECT id, unit, facts, text, reader, tries FROM hooks
WHERE result IS NULL AND claimed_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM hooks AS earlier
    WHERE earlier.unit = hooks.unit AND earlier.result IS NULL AND earlier.id < hooks.id)
ORDER BY id;

-- name: claim_hook
UPDATE hooks SET claimed_at = :now, tries = tries + 1
WHERE id = :id AND claimed_at IS NULL RETURNING id;

-- name: unclaim_hook
UPDATE hooks SET claimed_at = NULL WHERE id = :id AND hook_execution_id IS NULL;

-- name: hook_started
UPDATE hooks SET hook_execution_id = :hook_execution_id WHERE id = (
    SELECT id FROM hooks WHERE unit = :unit AND claimed_at IS NOT NULL
        AND hook_execution_id IS NULL AND result IS NULL ORDER BY id LIMIT 1)
    AND NOT EXISTS (SELECT 1 FROM hooks AS known
        WHERE known.hook_execution_id = :hook_execution_id);

-- name: hook_spawn_failed
UPDATE hooks SET spawn_failed = 1, exit_code = coalesce(exit_code, :exit_code)
WHERE hook_execution_id = :hook_execution_id AND result IS NULL;

-- name: hook_process_ended
UPDATE hooks SET exit_code = :exit_code, signal = :signal
WHERE hook_execution_id = :hook_execution_id AND result IS NULL;

-- name: hook_ended
UPDATE hooks SET result = CASE
        WHEN spawn_failed AND :result <> 'success' AND coalesce(exit_code, 200) >= 200
            AND signal IS NULL THEN 'exec-error' ELSE :result END,
    ended_at = :ended_at,
    exit_code = CASE :result WHEN 'success' THEN 0 ELSE exit_code END
WHERE hook_execution_id = :hook_execution_id AND result IS NULL;

-- name: fail_hook
UPDATE hooks SET result = :result, ended_at = :now WHERE id = :id AND result IS NULL;

-- name: open_hooks
SELECT id, unit, claimed_at, hook_execution_id, tries FROM hooks
WHERE result IS NULL AND claimed_at IS NOT NULL ORDER BY id;

-- name: hooks_of_runs
SELECT execution_id, event, result, exit_code, signal, hook_execution_id, ended_at FROM hooks
WHERE execution_id IN (SELECT value FROM json_each(:runs)) ORDER BY id;

-- name: drop_hooks_of_job
DELETE FROM hooks WHERE job = :job AND result IS NULL AND hook_execution_id IS NULL;

-- name: clock_is_borne_out
SELECT EXISTS (SELECT 1 FROM runs WHERE started_at BETWEEN :cutoff AND :before);

-- name: runs_by_age
SELECT sequence, started_at, job, coalesce(first_attempt_id, execution_id) AS chain FROM runs
WHERE (started_at, sequence) > (:at, :after) AND started_at < :cutoff
ORDER BY started_at, sequence LIMIT :count;

-- name: next_job_with_runs
SELECT job FROM runs WHERE job > :after ORDER BY job LIMIT 1;

-- name: first_run_kept
SELECT sequence FROM runs WHERE job = :job ORDER BY sequence DESC LIMIT 1 OFFSET :most - 1;

-- name: runs_by_sequence
SELECT sequence, started_at, job, coalesce(first_attempt_id, execution_id) AS chain FROM runs
WHERE job = :job AND sequence > :after AND sequence < :before ORDER BY sequence LIMIT :count;

-- name: runs_of_chains
SELECT execution_id, coalesce(first_attempt_id, execution_id) AS chain, sequence,
    phase <> 'ended' OR settled = 0 OR output IS NULL
        OR coalesce(ended_at, started_at) >= :cutoff OR sequence >= :before
        OR EXISTS (SELECT 1 FROM hooks
            WHERE hooks.execution_id = runs.execution_id AND hooks.result IS NULL)
        OR EXISTS (SELECT 1 FROM starts WHERE starts.failed_id = runs.execution_id)
        OR sequence = (SELECT sequence FROM runs AS latest
            WHERE latest.job = runs.job ORDER BY sequence DESC LIMIT 1)
        OR sequence = (SELECT sequence FROM runs AS latest
            WHERE latest.job = runs.job AND latest.result IS NOT 'skipped'
            ORDER BY sequence DESC LIMIT 1)
        OR sequence = (SELECT sequence FROM runs AS latest
            WHERE latest.job = runs.job AND latest.result = 'success'
            ORDER BY sequence DESC LIMIT 1)
        OR sequence = (SELECT sequence FROM runs AS latest
            WHERE latest.job = runs.job AND latest.scheduled_at IS NOT NULL
                AND latest.result IS NOT 'skipped'
            ORDER BY sequence DESC LIMIT 1) AS is_kept
FROM runs WHERE sequence IN (
    SELECT sequence FROM runs WHERE execution_id IN (SELECT value FROM json_each(:chains))
    UNION SELECT sequence FROM runs
    WHERE first_attempt_id IN (SELECT value FROM json_each(:chains)));

-- name: delete_hooks_of_pruned
DELETE FROM hooks WHERE execution_id IN (
    SELECT execution_id FROM runs WHERE sequence IN (SELECT value FROM json_each(:sequences)));

-- name: delete_runs
DELETE FROM runs WHERE sequence IN (SELECT value FROM json_each(:sequences));

-- name: outage
SELECT since, failures, alerted_at, relapses, recovered_at FROM outages WHERE job = :job;

-- name: put_outage
INSERT INTO outages (job, since, failures, alerted_at, relapses, recovered_at)
VALUES (:job, :since, :failures, :alerted_at, :relapses, :recovered_at)
ON CONFLICT (job) DO UPDATE SET since = excluded.since, failures = excluded.failures,
    alerted_at = excluded.alerted_at, relapses = excluded.relapses,
    recovered_at = excluded.recovered_at;

-- name: end_outage
DELETE FROM outages WHERE job = :job;

-- name: put_notification
INSERT INTO outbox (key, cause, job, event, kind, channel, type, server, counter, lane, report,
    awaits_output, created_at, due_at)
VALUES (:key, :cause, :job, :event, :kind, :channel, :type, :server, :counter, :lane, :report,
    :awaits_output, :now, :now)
ON CONFLICT (key) DO NOTHING RETURNING id;

-- name: supersede_notifications
UPDATE outbox SET state = 'superseded', settled_at = :now, channel = :shown, report = NULL,
    awaits_output = 0
WHERE lane = :lane AND state = 'waiting' AND claimed_at IS NULL AND id < :id AND cause <> :cause;

-- name: release_lane
UPDATE outbox SET ready = 1
WHERE id = (SELECT min(id) FROM outbox WHERE lane = :lane AND state = 'waiting')
    AND awaits_output = 0 AND ready = 0;

-- name: set_output_of_notifications
UPDATE outbox SET awaits_output = 0, report = json_set(report, '$.output', :output)
WHERE cause = :cause AND awaits_output = 1 RETURNING lane;

-- name: ready_notifications
-- The first of each server; from server to server, not through all that waits.
WITH RECURSIVE servers (server) AS (
    SELECT min(server) FROM outbox WHERE state = 'waiting' AND claimed_at IS NULL AND ready = 1
    UNION ALL
    SELECT (SELECT min(outbox.server) FROM outbox
            WHERE state = 'waiting' AND claimed_at IS NULL AND ready = 1
                AND outbox.server > servers.server)
    FROM servers WHERE servers.server IS NOT NULL
)
SELECT outbox.* FROM servers JOIN outbox ON outbox.id = (
    SELECT first.id FROM outbox AS first
    WHERE first.state = 'waiting' AND first.claimed_at IS NULL AND first.ready = 1
        AND first.server = servers.server
    ORDER BY first.due_at, first.id LIMIT 1)
WHERE servers.server NOT IN (SELECT value FROM json_each(:busy))
ORDER BY outbox.due_at, outbox.id;

-- name: claim_notification
UPDATE outbox SET claimed_at = :now, tries = tries + 1
WHERE id = :id AND state = 'waiting' AND claimed_at IS NULL RETURNING *;

-- name: unclaim_notifications
UPDATE outbox SET claimed_at = NULL
WHERE state = 'waiting' AND claimed_at IS NOT NULL AND hook_id IS NULL;

-- name: settle_notification
UPDATE outbox SET state = :state, settled_at = :now, channel = :shown, report = NULL,
    awaits_output = 0, claimed_at = NULL, subject = :subject, answer = :answer
WHERE id = :id AND state IN ('waiting', 'held');

-- name: postpone_notification
UPDATE outbox SET claimed_at = NULL, hook_id = NULL, due_at = :now + :delay, delay = :delay,
    waited = waited + :delay, subject = :subject, answer = :answer
WHERE id = :id;

-- name: postpone_server
UPDATE outbox SET due_at = :now + :delay, delay = :delay,
    waited = waited + :now + :delay - max(due_at, :now)
WHERE server = :server AND state = 'waiting' AND claimed_at IS NULL AND due_at < :now + :delay;

-- name: postpone_lanes
UPDATE outbox SET due_at = :now + :delay, delay = :delay,
    waited = waited + :now + :delay - max(due_at, :now)
WHERE lane BETWEEN :first AND :last AND state = 'waiting' AND claimed_at IS NULL
    AND due_at < :now + :delay;

-- name: outwaited_notifications
SELECT * FROM outbox
WHERE server = :server AND state = 'waiting' AND claimed_at IS NULL AND waited >= :waited
ORDER BY id LIMIT :count;

-- name: later_ping
SELECT 1 FROM outbox
WHERE lane = :lane AND state = 'waiting' AND id > :id AND cause <> :cause LIMIT 1;

-- name: follow_clock
UPDATE outbox SET due_at = :now + delay WHERE state = 'waiting' AND due_at > :now + delay;

-- name: sent_lately
SELECT sent_at FROM sent_notifications WHERE counter = :counter AND sent_at > :since
ORDER BY sent_at DESC;

-- name: count_sent
INSERT INTO sent_notifications (counter, sent_at) VALUES (:counter, :now);

-- name: count_sent_from_now
-- The clock was set back behind them: an hour has begun that they are all in.
UPDATE sent_notifications SET sent_at = :now WHERE counter = :counter AND sent_at > :now;

-- name: count_all_sent_from_now
UPDATE sent_notifications SET sent_at = :now WHERE sent_at > :now;

-- name: forget_sent
DELETE FROM sent_notifications WHERE counter = :counter AND sent_at <= :before;

-- name: forget_all_sent
DELETE FROM sent_notifications WHERE sent_at <= :before;

-- name: hold_notification
UPDATE outbox SET state = 'held' WHERE id = :id AND state = 'waiting' AND claimed_at IS NULL;

-- name: held_channels
WITH RECURSIVE counters (counter) AS (
    SELECT min(counter) FROM outbox WHERE state = 'held'
    UNION ALL
    SELECT (SELECT min(outbox.counter) FROM outbox
            WHERE state = 'held' AND outbox.counter > counters.counter)
    FROM counters WHERE counters.counter IS NOT NULL
)
SELECT counter FROM counters WHERE counter IS NOT NULL;

-- name: any_held
SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'held' AND lane = :lane);

-- name: held_lanes
SELECT lane, max(kind IN (SELECT value FROM json_each(:kinds))) AS has_some
FROM outbox INDEXED BY outbox_held_lanes
WHERE state = 'held' AND lane BETWEEN :counter || ':' AND :counter || ';' AND counter = :counter
GROUP BY lane ORDER BY lane;

-- name: held_notifications
SELECT * FROM outbox WHERE state = 'held' AND counter = :counter ORDER BY id LIMIT :count;

-- name: give_notification_to_hook
UPDATE outbox SET subject = :subject, hook_id = (
    SELECT id FROM hooks WHERE execution_id = :key AND event = :event)
WHERE id = :id;

-- name: count_commands
SELECT count(*) AS open FROM outbox WHERE state = 'waiting' AND hook_id IS NOT NULL;

-- name: ended_commands
SELECT outbox.*, hooks.result, hooks.exit_code, hooks.signal
FROM outbox INDEXED BY outbox_commands LEFT JOIN hooks ON hooks.id = outbox.hook_id
WHERE outbox.state = 'waiting' AND outbox.hook_id IS NOT NULL
    AND (hooks.id IS NULL OR hooks.result IS NOT NULL);

-- name: delete_hook
DELETE FROM hooks WHERE id = :id;

-- name: notifications
SELECT * FROM outbox ORDER BY id DESC LIMIT :count;

-- name: notifications_of_job
SELECT * FROM outbox WHERE job = :job ORDER BY id DESC LIMIT :count;

-- name: failed_notifications
SELECT * FROM outbox WHERE state = 'failed' ORDER BY id DESC LIMIT :count;

-- name: failed_notifications_of_job
SELECT * FROM outbox WHERE state = 'failed' AND job = :job ORDER BY id DESC LIMIT :count;

-- name: notification
SELECT * FROM outbox WHERE key = :key;

-- name: open_notifications
SELECT (SELECT count(*) FROM outbox WHERE state = 'waiting')
    + (SELECT count(*) FROM outbox WHERE state = 'held') AS open;

-- name: any_open_notifications
SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'waiting')
    OR EXISTS (SELECT 1 FROM outbox WHERE state = 'held') AS any_open;

-- name: old_notifications
SELECT id FROM outbox WHERE settled_at < :cutoff ORDER BY settled_at LIMIT :count;

-- name: notifications_beyond
SELECT settled_at FROM outbox WHERE settled_at IS NOT NULL
ORDER BY settled_at DESC LIMIT 1 OFFSET :most;

-- name: delete_notifications
DELETE FROM outbox WHERE id IN (SELECT value FROM json_each(:ids));

-- name: free_pages
SELECT freelist_count AS free FROM pragma_freelist_count;

-- name: gives_pages_back
SELECT auto_vacuum = 2 AS incremental FROM pragma_auto_vacuum;

-- name: give_pages_back
-- Locked from the beginning: what has read and then wants to write is not waited for.
BEGIN IMMEDIATE;
PRAGMA incremental_vacuum(1000);
COMMIT;

-- name: choose_incremental
PRAGMA auto_vacuum = INCREMENTAL;

-- name: rebuild
VACUUM;

-- name: optimize
PRAGMA optimize;

-- name: fold_log_in
PRAGMA wal_checkpoint(TRUNCATE);

-- name: job_snapshots
SELECT jobs.value AS name, coalesce(successes, 0) AS successes,
    coalesce(failures, 0) AS failures, coalesce(stopped, 0) AS stopped, coalesce(skipped, 0) AS skipped,
    coalesce(retries, 0) AS retries, coalesce(took_usec, 0) AS took_usec,
    coalesce(job_totals.cpu_usec, 0) AS cpu_usec, coalesce(durations, '') AS durations,
    coalesce(missed, 0) AS missed, coalesce(job_totals.overrun, 0) AS overrun,
    latest.started_at AS last_start,
    coalesce(success.ended_at, success.started_at) AS last_success,
    slotted.started_at - slotted.scheduled_at AS lateness,
    ended.result, ended.exit_code, ended.signal, ended.memory_peak
FROM json_each(:jobs) AS jobs
LEFT JOIN job_totals ON job_totals.job = jobs.value
LEFT JOIN checked_slots ON checked_slots.job = jobs.value
LEFT JOIN runs AS latest ON latest.sequence = (
    SELECT sequence FROM runs WHERE job = jobs.value AND result IS NOT 'skipped'
    ORDER BY sequence DESC LIMIT 1)
LEFT JOIN runs AS ended ON ended.sequence = (
    SELECT sequence FROM runs WHERE job = jobs.value AND result IS NOT 'skipped'
        AND phase = 'ended' AND result <> 'stopped'
    ORDER BY sequence DESC LIMIT 1)
LEFT JOIN runs AS success ON success.sequence = (
    SELECT sequence FROM runs WHERE job = jobs.value AND result = 'success'
    ORDER BY sequence DESC LIMIT 1)
LEFT JOIN runs AS slotted ON slotted.sequence = (
    SELECT sequence FROM runs WHERE job = jobs.value AND scheduled_at IS NOT NULL
        AND result IS NOT 'skipped'
    ORDER BY sequence DESC LIMIT 1);

-- name: count_running
-- The plus: by the few open runs, not along the index of all of them.
-- Beside min(), the slot is that of the run that began first.
SELECT job, count(*) AS runs, sum(attempt > 1) AS retries, min(started_at) AS started_at,
    scheduled_at FROM runs WHERE phase <> 'ended' GROUP BY +job;

-- name: waiting_jobs
SELECT job, sum(due_at <= :now) AS due, count(failed_id) AS retries FROM starts GROUP BY job;

-- name: count_elapses
SELECT coalesce(sum(elapses), 0) AS elapses FROM job_totals;

-- name: checked_slots
SELECT * FROM checked_slots WHERE job = :job;

-- name: set_checked_slots
INSERT INTO checked_slots (job, checked_until, highest, checked_sequence)
SELECT :job, :until, :highest, coalesce(
    (SELECT min(sequence) - 1 FROM runs
        WHERE job = :job AND sequence > known.sequence
            AND (phase <> 'ended' OR coalesce(ended_at, started_at) > :until)),
    (SELECT sequence FROM runs WHERE job = :job ORDER BY sequence DESC LIMIT 1), 0)
FROM (SELECT coalesce((SELECT checked_sequence FROM checked_slots WHERE job = :job), 0)
    AS sequence) AS known
WHERE true
ON CONFLICT (job) DO UPDATE SET checked_until = excluded.checked_until,
    highest = excluded.highest, checked_sequence = excluded.checked_sequence;

-- name: add_missed_slots
UPDATE checked_slots SET missed = missed + :count, last_missed = :count,
    first_missed_at = :first_at, last_missed_at = :last_at
WHERE job = :job;

-- name: slot_covers
SELECT "trigger", scheduled_at, started_at, ended_at, phase = 'ended' AS is_over FROM runs
WHERE job = :job AND sequence > coalesce(
    (SELECT checked_sequence FROM checked_slots WHERE job = :job), 0)
UNION ALL
SELECT "trigger", scheduled_at, created_at, NULL, 0 FROM starts
WHERE job = :job AND failed_id IS NULL;

-- name: newest_run
SELECT coalesce(max(sequence), 0) AS sequence FROM runs;

-- name: jobs_with_runs_since
SELECT job, max(sequence) AS newest FROM runs WHERE sequence > :sequence GROUP BY +job;

-- name: open_notification_counts
SELECT (SELECT count(*) FROM outbox WHERE state = 'waiting') AS waiting,
    (SELECT count(*) FROM outbox WHERE state = 'held') AS held,
    (SELECT min(created_at) FROM outbox WHERE state = 'waiting') AS oldest;

-- name: notification_totals
SELECT * FROM notification_totals;
