-- What a timeline shows of a job's runs, found in the order of time without a look at their rows.
CREATE INDEX runs_by_time ON runs (job, started_at, ended_at, result);
