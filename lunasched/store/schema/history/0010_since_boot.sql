-- When a run began and was over on the monotonic clock (µs since boot), which no step of the clock
-- moves: a timer's elapses are told from one another by it. NULL where only the clock is known.
ALTER TABLE runs ADD COLUMN started_since_boot INTEGER;
ALTER TABLE runs ADD COLUMN ended_since_boot INTEGER;
-- The same of a launcher, for the run that it starts.
ALTER TABLE requested_starts ADD COLUMN since_boot INTEGER;
