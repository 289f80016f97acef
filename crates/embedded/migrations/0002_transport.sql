-- The transport's tables: queues, bindings between exchanges, and the messages that wait.

-- `handed`: no message above this number was ever handed to a consumer of the process that wrote it.
CREATE TABLE queue (
    name   TEXT    PRIMARY KEY,
    handed INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- An exchange passes what it gets to every exchange bound to it; the exchange that bears a queue's
-- name feeds that queue.
CREATE TABLE binding (
    source      TEXT NOT NULL,
    destination TEXT NOT NULL,
    PRIMARY KEY (source, destination)
) STRICT, WITHOUT ROWID;

CREATE TABLE queue_message (
    n              INTEGER PRIMARY KEY AUTOINCREMENT,
    queue          TEXT    NOT NULL,
    delivery_count INTEGER NOT NULL DEFAULT 0,
    exchange       TEXT    NOT NULL,
    routing_key    TEXT    NOT NULL,
    properties     TEXT    NOT NULL,
    body           BLOB    NOT NULL
) STRICT;
CREATE INDEX queue_message_in_line ON queue_message (queue, n);
