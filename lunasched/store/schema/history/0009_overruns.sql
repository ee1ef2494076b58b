-- Slots that passed while a run was in progress: how many, the first and the last of them. They are
-- on record with the run when it is over.
ALTER TABLE runs ADD COLUMN overrun INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN overrun_first_at INTEGER;
ALTER TABLE runs ADD COLUMN overrun_last_at INTEGER;
ALTER TABLE job_totals ADD COLUMN overrun INTEGER NOT NULL DEFAULT 0;

-- The few runs in progress, by job.
CREATE INDEX runs_open_of_job ON runs (job) WHERE phase <> 'ended';
