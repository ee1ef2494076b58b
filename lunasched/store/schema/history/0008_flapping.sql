-- A job that fails again soon after it recovered has the same outage: how often it did, and when the
-- latest success was after the latest failure.
ALTER TABLE outages ADD COLUMN relapses INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outages ADD COLUMN recovered_at INTEGER;

-- Whether later messages of a lane have to be held, too.
CREATE INDEX outbox_held_lanes ON outbox (lane) WHERE state = 'held';
