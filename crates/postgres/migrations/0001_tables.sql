-- Everything that one application keeps. Names are looked up in the application's own schema.
--
-- Names are compared byte by byte: it is what is meant, and indexes are quicker for it.
-- JSON stands in text columns: jsonb refuses \u0000 and changes spacing and numbers.
-- Nothing that changes is indexed on `instance`, and it leaves room in its pages, so that its
-- updates stay within a page (HOT). Rows that come and go quickly are vacuumed early and at full
-- speed. Indexes begin with what tells rows apart, never with `saga`: a plan made while a table was
-- empty may be content with the first column, and stays so when the table has grown.

CREATE TABLE endpoint (
    name          text   COLLATE "C" PRIMARY KEY,
    state         text   NOT NULL DEFAULT 'open'
                  CHECK (state IN ('open', 'halted', 'probing', 'paused')),
    epoch         bigint NOT NULL DEFAULT 1,
    guard_version bigint NOT NULL DEFAULT 0,
    holder        uuid,
    stop          text,
    -- Nothing is claimed or started: halted, or a pause that holds back what waits.
    closed        boolean NOT NULL DEFAULT false,
    -- A process died not long ago: batches write what they are about to decide.
    watched_until timestamptz,
    -- When the store was last brought back from a backup.
    restored_at   timestamptz
);

-- Scripts that made or changed the sagas' own tables.
CREATE TABLE saga_migration (
    saga text        COLLATE "C" NOT NULL,
    name text        COLLATE "C" NOT NULL,
    hash text        NOT NULL,
    at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (saga, name)
);

-- `worked` and `failed`: how its attempts went lately.
CREATE TABLE node (
    id          uuid        PRIMARY KEY,
    lease_until timestamptz NOT NULL,
    worked      bigint      NOT NULL DEFAULT 0,
    failed      bigint      NOT NULL DEFAULT 0
);

-- What lanes are about to decide, written only while an endpoint is in crash-watch.
CREATE TABLE intent (
    node     uuid        NOT NULL,
    endpoint text        COLLATE "C" NOT NULL,
    lane     bigint      NOT NULL,
    saga     text        COLLATE "C" NOT NULL,
    messages uuid[]      NOT NULL,
    alone    boolean     NOT NULL,
    number   bigint      NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (node, endpoint, lane)
);

-- What a process had in hand when it died. `died`: how many died of it alone, the last time at `last`.
CREATE TABLE suspect (
    message_id uuid        NOT NULL,
    endpoint   text        COLLATE "C" NOT NULL,
    saga       text        COLLATE "C" NOT NULL,
    died       bigint      NOT NULL,
    last       timestamptz,
    at         timestamptz NOT NULL,
    PRIMARY KEY (message_id, endpoint)
);

-- Which nodes serve which endpoints, and what each did when one stopped last (JSON).
CREATE TABLE served (
    endpoint text COLLATE "C" NOT NULL,
    node     uuid NOT NULL,
    report   text,
    PRIMARY KEY (endpoint, node)
);

CREATE TABLE instance (
    saga               text COLLATE "C" NOT NULL,
    id                 uuid        NOT NULL,
    run                bigint      NOT NULL,
    state              text        NOT NULL,
    version            bigint      NOT NULL,
    definition_version bigint      NOT NULL,
    data               text        NOT NULL,
    book               text        NOT NULL,
    incident           uuid,
    updated_at         timestamptz NOT NULL,
    PRIMARY KEY (id, saga)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

-- Insert-only. `line` is the order of writing: within an instance, the order of deciding.
CREATE TABLE journal (
    saga       text COLLATE "C" NOT NULL,
    message_id uuid        NOT NULL,
    digest     bytea       NOT NULL,
    instance   uuid,
    run        bigint,
    seq        bigint,
    event      text        NOT NULL,
    from_state text,
    to_state   text,
    outcome    text        NOT NULL,
    at         timestamptz NOT NULL,
    line       bigint      GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (message_id, saga)
);
CREATE INDEX journal_of_instance ON journal (instance, saga, line);
-- Old rows lie together: a summary of each block range finds them at next to no cost.
CREATE INDEX journal_by_age ON journal
    USING brin (at) WITH (pages_per_range = 32, autosummarize = on);

CREATE TABLE origin (
    saga        text COLLATE "C" NOT NULL,
    instance    uuid   NOT NULL,
    run         bigint NOT NULL,
    message_id  uuid   NOT NULL,
    fingerprint bytea  NOT NULL,
    envelope    text   NOT NULL,
    PRIMARY KEY (instance, saga, run)
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 2000,
    toast.autovacuum_vacuum_cost_delay = 0
);

-- `key` is a name-based id of name and value: values may be longer than an index takes.
CREATE TABLE correlation (
    saga       text COLLATE "C" NOT NULL,
    key        uuid    NOT NULL,
    key_name   text    NOT NULL,
    key_value  text    NOT NULL,
    instance   uuid    NOT NULL,
    generation bigint  NOT NULL,
    free       boolean NOT NULL,
    PRIMARY KEY (key, saga)
) WITH (fillfactor = 90);
CREATE INDEX correlation_of_instance ON correlation (instance, saga);

CREATE TABLE timer (
    id       uuid        PRIMARY KEY,
    endpoint text COLLATE "C" NOT NULL,
    saga     text COLLATE "C" NOT NULL,
    instance uuid        NOT NULL,
    run      bigint      NOT NULL,
    name     text        NOT NULL,
    due_at   timestamptz NOT NULL,
    attempt  bigint      NOT NULL,
    claims   bigint      NOT NULL,
    context  text        NOT NULL,
    node     uuid
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_analyze_threshold = 2000
);
CREATE INDEX timer_due ON timer (endpoint, due_at);
CREATE INDEX timer_of_instance ON timer (instance, saga);

CREATE TABLE activity (
    id              uuid        PRIMARY KEY,
    endpoint        text COLLATE "C" NOT NULL,
    saga            text COLLATE "C" NOT NULL,
    instance        uuid        NOT NULL,
    run             bigint      NOT NULL,
    call            text        NOT NULL,
    payload         text        NOT NULL,
    idempotency_key uuid        NOT NULL,
    attempt         bigint      NOT NULL,
    claims          bigint      NOT NULL,
    memo            text,
    due_at          timestamptz NOT NULL,
    retry           text,
    deadline_us     bigint,
    context         text        NOT NULL,
    ended           text,
    decide_attempt  bigint      NOT NULL DEFAULT 0,
    node            uuid,
    run_since       timestamptz,
    lost            bigint      NOT NULL DEFAULT 0,
    lost_at         timestamptz,
    lost_after_us   bigint
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_analyze_threshold = 2000,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 2000,
    toast.autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX activity_due ON activity (endpoint, due_at);
CREATE INDEX activity_of_instance ON activity (instance, saga);

CREATE TABLE parked (
    id         uuid   PRIMARY KEY,
    endpoint   text COLLATE "C" NOT NULL,
    saga       text COLLATE "C" NOT NULL,
    message_id uuid   NOT NULL,
    digest     bytea  NOT NULL,
    instance   uuid,
    seq        bigint NOT NULL,
    reason     text   NOT NULL
               CHECK (reason IN ('retry', 'missing', 'deferred', 'held', 'suspect')),
    attempt    bigint NOT NULL,
    claims     bigint NOT NULL,
    due_at     timestamptz,
    error      text,
    envelope   text   NOT NULL,
    node       uuid,
    UNIQUE (message_id, saga)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_analyze_threshold = 2000,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 2000,
    toast.autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX parked_due ON parked (endpoint, due_at);
CREATE INDEX parked_of_instance ON parked (instance, saga, seq);

-- A row lives for milliseconds: compressing it would cost more than writing it.
CREATE TABLE outbox (
    id        uuid   PRIMARY KEY,
    endpoint  text COLLATE "C" NOT NULL,
    node      uuid   NOT NULL,
    directory text   NOT NULL,
    bodies    bytea  NOT NULL,
    number    bigint GENERATED ALWAYS AS IDENTITY
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_analyze_threshold = 1000,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 1000,
    toast.autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE outbox ALTER COLUMN directory SET STORAGE EXTERNAL;
ALTER TABLE outbox ALTER COLUMN bodies SET STORAGE EXTERNAL;

CREATE TABLE quarantine (
    id         uuid        PRIMARY KEY,
    endpoint   text COLLATE "C" NOT NULL,
    saga       text COLLATE "C" NOT NULL,
    message_id uuid        NOT NULL,
    digest     bytea       NOT NULL,
    class      text        NOT NULL,
    status     text        NOT NULL,
    at         timestamptz NOT NULL,
    detail     text        NOT NULL,
    body       bytea       NOT NULL,
    copies     bigint      NOT NULL DEFAULT 0,
    UNIQUE (endpoint, message_id, digest)
);
CREATE INDEX quarantine_by_age ON quarantine (at, id);

-- Columns are what is filtered, sorted and counted; `detail` is the whole.
CREATE TABLE incident (
    id        uuid        PRIMARY KEY,
    endpoint  text COLLATE "C" NOT NULL,
    saga      text COLLATE "C" NOT NULL,
    instance  uuid,
    class     text        NOT NULL,
    scope     text        NOT NULL,
    status    text        NOT NULL,
    opened_at timestamptz NOT NULL,
    count     bigint      NOT NULL,
    detail    text        NOT NULL
);
CREATE INDEX incident_by_age ON incident (opened_at, id);
-- The one that gathers messages of a class while it is open.
CREATE UNIQUE INDEX incident_gathering ON incident (class, endpoint, saga)
    WHERE status = 'open' AND scope = 'nothing' AND instance IS NULL;

-- What an incident keeps of its run: JSON, and the unsent messages as in an outbox row.
CREATE TABLE snapshot (
    incident  uuid  PRIMARY KEY,
    whole     text  NOT NULL,
    directory text  NOT NULL,
    bodies    bytea NOT NULL
);

CREATE TABLE block (
    quarantined        uuid   PRIMARY KEY,
    endpoint           text COLLATE "C" NOT NULL,
    by                 text   NOT NULL,
    value              text   NOT NULL,
    incident           uuid,
    definition_version bigint NOT NULL,
    lets               uuid
);
CREATE INDEX block_of_endpoint ON block (endpoint);

-- Runs whose unsent messages do not leave any more.
CREATE TABLE withdrawn (
    instance uuid   NOT NULL,
    run      bigint NOT NULL,
    endpoint text COLLATE "C" NOT NULL,
    PRIMARY KEY (instance, run, endpoint)
);

-- `number` is the order in which the verbs of an endpoint took place; `key` is a name-based id of
-- the request's key, which may be longer than an index takes.
CREATE TABLE audit (
    id       uuid        PRIMARY KEY,
    number   bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,
    at       timestamptz NOT NULL,
    endpoint text COLLATE "C" NOT NULL,
    key      uuid        UNIQUE,
    detail   text        NOT NULL
);

CREATE TABLE permit (
    name      text   NOT NULL,
    window_us bigint NOT NULL,
    bucket    bigint NOT NULL,
    used      bigint NOT NULL,
    PRIMARY KEY (name, window_us)
) WITH (fillfactor = 50);
