-- The store's tables: the same as in Postgres (engine.md, "Tables").
-- Ids are 16 bytes, instants are whole microseconds since 1970, JSON is text.

-- `stop` says why it does not flow; `closed`: nothing of it is claimed or started.
CREATE TABLE endpoint (
    name          TEXT    PRIMARY KEY,
    state         TEXT    NOT NULL DEFAULT 'open',
    epoch         INTEGER NOT NULL DEFAULT 1,
    guard_version INTEGER NOT NULL DEFAULT 0,
    holder        BLOB,
    stop          TEXT,
    closed        INTEGER NOT NULL GENERATED ALWAYS AS (
        state = 'halted' OR (state = 'paused' AND coalesce(stop ->> '$.internalToo', 0))) VIRTUAL,
    -- A process died not long ago: batches write what they are about to decide.
    watched_until INTEGER,
    -- When the store was last brought back from a backup.
    restored_at   INTEGER
) STRICT, WITHOUT ROWID;

-- Scripts that made or changed the sagas' own tables.
CREATE TABLE saga_migration (
    saga TEXT    NOT NULL,
    name TEXT    NOT NULL,
    hash TEXT    NOT NULL,
    at   INTEGER NOT NULL,
    PRIMARY KEY (saga, name)
) STRICT, WITHOUT ROWID;

-- `worked` and `failed`: how its attempts went lately.
CREATE TABLE node (
    id          BLOB    PRIMARY KEY,
    lease_until INTEGER NOT NULL,
    worked      INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What lanes are about to decide, written only while an endpoint is in crash-watch. `messages` is a
-- JSON array of ids as hex digits.
CREATE TABLE intent (
    node     BLOB    NOT NULL,
    endpoint TEXT    NOT NULL,
    lane     INTEGER NOT NULL,
    saga     TEXT    NOT NULL,
    messages TEXT    NOT NULL,
    alone    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (node, endpoint, lane)
) STRICT, WITHOUT ROWID;

-- What a process had in hand when it died. `died`: how many died of it alone, the last time at `last`.
CREATE TABLE suspect (
    message_id BLOB    NOT NULL,
    endpoint   TEXT    NOT NULL,
    saga       TEXT    NOT NULL,
    died       INTEGER NOT NULL,
    last       INTEGER,
    at         INTEGER NOT NULL,
    PRIMARY KEY (message_id, endpoint)
) STRICT, WITHOUT ROWID;

-- Which nodes serve which endpoints, and what each did when one stopped last (JSON).
CREATE TABLE served (
    endpoint TEXT NOT NULL,
    node     BLOB NOT NULL,
    report   TEXT,
    PRIMARY KEY (endpoint, node)
) STRICT, WITHOUT ROWID;

CREATE TABLE instance (
    saga               TEXT    NOT NULL,
    id                 BLOB    NOT NULL,
    run                INTEGER NOT NULL,
    state              TEXT    NOT NULL,
    version            INTEGER NOT NULL,
    definition_version INTEGER NOT NULL,
    data               TEXT    NOT NULL,
    book               TEXT    NOT NULL,
    incident           BLOB,
    updated_at         INTEGER NOT NULL,
    PRIMARY KEY (saga, id)
) STRICT;
-- Covers the list of instances (newest change first) and the count by state.
CREATE INDEX instance_by_change ON instance (saga, updated_at, id, state);

CREATE TABLE journal (
    n          INTEGER PRIMARY KEY,
    saga       TEXT    NOT NULL,
    message_id BLOB    NOT NULL,
    digest     BLOB    NOT NULL,
    instance   BLOB,
    run        INTEGER,
    seq        INTEGER,
    event      TEXT    NOT NULL,
    from_state TEXT,
    to_state   TEXT,
    outcome    TEXT    NOT NULL,
    at         INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX journal_by_message ON journal (saga, message_id);
CREATE INDEX journal_by_instance ON journal (saga, instance, n) WHERE instance IS NOT NULL;
CREATE INDEX journal_by_age ON journal (at);

CREATE TABLE origin (
    saga        TEXT    NOT NULL,
    instance    BLOB    NOT NULL,
    run         INTEGER NOT NULL,
    message_id  BLOB    NOT NULL,
    fingerprint BLOB    NOT NULL,
    envelope    TEXT    NOT NULL,
    PRIMARY KEY (saga, instance, run)
) STRICT;

CREATE TABLE correlation (
    saga       TEXT    NOT NULL,
    key_name   TEXT    NOT NULL,
    key_value  TEXT    NOT NULL,
    instance   BLOB    NOT NULL,
    generation INTEGER NOT NULL,
    free       INTEGER NOT NULL,
    PRIMARY KEY (saga, key_name, key_value)
) STRICT, WITHOUT ROWID;
CREATE INDEX correlation_by_instance ON correlation (saga, instance);

-- `node` on a row that waits: who has claimed it. `behind`: a row before it blocks its instance.
CREATE TABLE parked (
    id         BLOB    PRIMARY KEY,
    endpoint   TEXT    NOT NULL,
    saga       TEXT    NOT NULL,
    message_id BLOB    NOT NULL,
    digest     BLOB    NOT NULL,
    instance   BLOB,
    seq        INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    attempt    INTEGER NOT NULL,
    claims     INTEGER NOT NULL,
    due_at     INTEGER,
    error      TEXT,
    envelope   TEXT    NOT NULL,
    behind     INTEGER NOT NULL DEFAULT 0,
    node       BLOB
) STRICT;
CREATE UNIQUE INDEX parked_by_message ON parked (saga, message_id);
CREATE INDEX parked_by_instance ON parked (saga, instance, seq, id) WHERE instance IS NOT NULL;
CREATE INDEX parked_by_due ON parked (endpoint, due_at) WHERE due_at IS NOT NULL;
-- Held messages whose head is gone: they are due whatever their time says.
CREATE INDEX parked_first ON parked (endpoint, due_at)
    WHERE reason = 'held' AND behind = 0 AND due_at IS NOT NULL;
CREATE INDEX parked_by_node ON parked (node) WHERE node IS NOT NULL;

CREATE TABLE timer (
    id       BLOB    PRIMARY KEY,
    endpoint TEXT    NOT NULL,
    saga     TEXT    NOT NULL,
    instance BLOB    NOT NULL,
    run      INTEGER NOT NULL,
    name     TEXT    NOT NULL,
    due_at   INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    claims   INTEGER NOT NULL,
    error    TEXT,
    context  TEXT    NOT NULL,
    node     BLOB
) STRICT;
CREATE INDEX timer_by_due ON timer (endpoint, due_at, id);
CREATE INDEX timer_by_instance ON timer (saga, instance);
CREATE INDEX timer_by_node ON timer (node) WHERE node IS NOT NULL;

-- `ended` is null while the call is open; then it waits for its saga to decide on it.
CREATE TABLE activity (
    id              BLOB    PRIMARY KEY,
    endpoint        TEXT    NOT NULL,
    saga            TEXT    NOT NULL,
    instance        BLOB    NOT NULL,
    run             INTEGER NOT NULL,
    call            TEXT    NOT NULL,
    payload         TEXT    NOT NULL,
    idempotency_key BLOB    NOT NULL,
    attempt         INTEGER NOT NULL,
    claims          INTEGER NOT NULL,
    memo            TEXT,
    due_at          INTEGER NOT NULL,
    retry           TEXT,
    deadline        INTEGER,
    context         TEXT    NOT NULL,
    ended           TEXT,
    decide_attempt  INTEGER NOT NULL DEFAULT 0,
    error           TEXT,
    node            BLOB,
    run_since       INTEGER,
    lost            INTEGER NOT NULL DEFAULT 0,
    lost_at         INTEGER,
    lost_after      INTEGER
) STRICT;
CREATE INDEX activity_by_due ON activity (endpoint, due_at, id) WHERE ended IS NULL;
CREATE INDEX activity_by_end ON activity (endpoint, due_at, id) WHERE ended IS NOT NULL;
CREATE INDEX activity_by_instance ON activity (saga, instance);
CREATE INDEX activity_by_node ON activity (node) WHERE node IS NOT NULL;

CREATE TABLE outbox (
    n         INTEGER PRIMARY KEY AUTOINCREMENT,
    id        BLOB    NOT NULL UNIQUE,
    endpoint  TEXT    NOT NULL,
    saga      TEXT    NOT NULL,
    node      BLOB    NOT NULL,
    directory TEXT    NOT NULL,
    bodies    BLOB    NOT NULL
) STRICT;
CREATE INDEX outbox_by_node ON outbox (node, n);

-- `detail` is the whole row as JSON but for its body, whose bytes are kept as they came.
CREATE TABLE quarantine (
    id         BLOB    PRIMARY KEY,
    endpoint   TEXT    NOT NULL,
    saga       TEXT    NOT NULL,
    message_id BLOB    NOT NULL,
    digest     BLOB    NOT NULL,
    class      TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    detail     TEXT    NOT NULL,
    body       BLOB    NOT NULL,
    copies     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (endpoint, message_id, digest)
) STRICT;
CREATE INDEX quarantine_by_status ON quarantine (status, at, id);

-- `detail` is the whole row as JSON; its `count` is the column's.
CREATE TABLE incident (
    id        BLOB    PRIMARY KEY,
    endpoint  TEXT    NOT NULL,
    saga      TEXT    NOT NULL,
    class     TEXT    NOT NULL,
    status    TEXT    NOT NULL,
    scope     TEXT    NOT NULL,
    instance  BLOB,
    opened_at INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    detail    TEXT    NOT NULL
) STRICT;
CREATE INDEX incident_by_time ON incident (opened_at, id);
CREATE INDEX incident_open ON incident (endpoint, opened_at, id) WHERE status = 'open';

-- What an incident keeps of its run; unsent messages as in the outbox.
CREATE TABLE snapshot (
    incident  BLOB PRIMARY KEY,
    whole     TEXT NOT NULL,
    directory TEXT NOT NULL,
    bodies    BLOB NOT NULL
) STRICT;

CREATE TABLE block (
    quarantined        BLOB    PRIMARY KEY,
    endpoint           TEXT    NOT NULL,
    compares           TEXT    NOT NULL,
    value              TEXT    NOT NULL,
    incident           BLOB,
    definition_version INTEGER NOT NULL,
    lets               BLOB
) STRICT;
CREATE INDEX block_by_endpoint ON block (endpoint);

-- Runs whose messages no longer leave.
CREATE TABLE withdrawn (
    endpoint TEXT    NOT NULL,
    instance BLOB    NOT NULL,
    run      INTEGER NOT NULL,
    PRIMARY KEY (endpoint, instance, run)
) STRICT, WITHOUT ROWID;

-- Who did what, in the order in which it was done. `key` names a request that may come again.
CREATE TABLE audit (
    n        INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL,
    key      TEXT,
    line     TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_endpoint ON audit (endpoint, n);
CREATE INDEX audit_by_key ON audit (key) WHERE key IS NOT NULL;

-- `length` of a window in nanoseconds; `number` counts windows since 1970.
CREATE TABLE permit (
    name   TEXT    NOT NULL,
    length INTEGER NOT NULL,
    number INTEGER NOT NULL,
    taken  INTEGER NOT NULL,
    PRIMARY KEY (name, length)
) STRICT, WITHOUT ROWID;
