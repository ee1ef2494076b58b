-- One word for one thing: what the tables of before called messages are notifications.
DROP TRIGGER message_settled;
DROP INDEX sent_messages_of_channel;
ALTER TABLE sent_messages RENAME TO sent_notifications;
ALTER TABLE message_totals RENAME TO notification_totals;
ALTER TABLE notification_totals RENAME COLUMN messages TO notifications;

CREATE INDEX sent_notifications_of_channel ON sent_notifications (counter, sent_at);

CREATE TRIGGER notification_settled AFTER UPDATE OF settled_at ON outbox
WHEN OLD.settled_at IS NULL AND NEW.settled_at IS NOT NULL
BEGIN
    INSERT INTO notification_totals (type, state, notifications) VALUES (NEW.type, NEW.state, 1)
    ON CONFLICT (type, state) DO UPDATE SET notifications = notifications + 1;
END;
