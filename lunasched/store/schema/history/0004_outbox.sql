-- Jobs that fail, for alerting by change of state: a row as long as the outage lasts.
CREATE TABLE outages (
    job TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    alerted_at INTEGER
) STRICT, WITHOUT ROWID;

-- Messages, each once for what it is about and where it goes. A row is written in the transaction of
-- its cause and claimed before anything is sent:
--
--     waiting -> claimed (claimed_at) -> sent, failed
--        ^------------'  tried again at due_at
--     waiting -> held -> digested       over the limit of its channel: one digest tells of all
--     waiting -> superseded             a ping, and a later run of the job has one
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    -- The execution ID of the run that it is about, where it is about one.
    cause TEXT NOT NULL,
    job TEXT NOT NULL,
    event TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- With its secrets as long as they are needed to send it, and without them afterwards.
    channel TEXT NOT NULL CHECK (json_valid(channel)),
    type TEXT NOT NULL,
    -- What is not to be asked for two things at a time.
    server TEXT NOT NULL,
    -- Where the messages of an hour are counted.
    counter TEXT NOT NULL,
    -- What has to arrive in its order: the messages of a job to a channel; counter, ':' and the job.
    lane TEXT NOT NULL,
    -- What the message is made of, as long as it is needed.
    report TEXT CHECK (report IS NULL OR json_valid(report)),
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (
        state IN ('waiting', 'held', 'sent', 'failed', 'digested', 'superseded')),
    awaits_output INTEGER NOT NULL,
    -- Whether it can be sent at due_at: it is the first of its lane, and the output is there.
    ready INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    -- How long it was put off the last time, and in all.
    delay INTEGER NOT NULL DEFAULT 0,
    waited INTEGER NOT NULL DEFAULT 0,
    claimed_at INTEGER,
    tries INTEGER NOT NULL DEFAULT 0,
    -- Of a command: the row that has it run.
    hook_id INTEGER,
    settled_at INTEGER,
    subject TEXT,
    answer TEXT
) STRICT;

CREATE INDEX outbox_ready ON outbox (server, due_at, id)
WHERE state = 'waiting' AND claimed_at IS NULL AND ready = 1;
CREATE INDEX outbox_waiting ON outbox (server) WHERE state = 'waiting';
CREATE INDEX outbox_lanes ON outbox (lane, id) WHERE state = 'waiting';
CREATE INDEX outbox_without_output ON outbox (cause) WHERE awaits_output = 1;
CREATE INDEX outbox_commands ON outbox (hook_id) WHERE state = 'waiting' AND hook_id IS NOT NULL;
CREATE INDEX outbox_held ON outbox (counter, id) WHERE state = 'held';
CREATE INDEX outbox_of_job ON outbox (job, id);
CREATE INDEX outbox_failed ON outbox (id) WHERE state = 'failed';
CREATE INDEX outbox_settled ON outbox (settled_at) WHERE settled_at IS NOT NULL;

-- Commands among the channels run as hooks do: under the key of their message, with a text on their
-- standard input that the job's user alone is to read.
ALTER TABLE hooks ADD COLUMN text TEXT;
ALTER TABLE hooks ADD COLUMN reader TEXT;

-- What each channel took in the last hour.
CREATE TABLE sent_messages (
    counter TEXT NOT NULL,
    sent_at INTEGER NOT NULL
) STRICT;

CREATE INDEX sent_messages_of_channel ON sent_messages (counter, sent_at);
