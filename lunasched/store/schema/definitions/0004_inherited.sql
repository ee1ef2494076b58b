-- The variables of a job that its crontab did not set, but the machine: names with spaces between.

ALTER TABLE origins ADD COLUMN inherited TEXT NOT NULL DEFAULT '';
