-- Rows by the ten thousand, none of which any statement of the test is about.

INSERT INTO knarr.instance (saga, id, run, state, version, definition_version, data, book,
                            updated_at)
SELECT 'order', gen_random_uuid(), 1, 'Waiting', 1, 1, 'null', '{}', now()
FROM generate_series(1, 30000);

INSERT INTO knarr.journal (saga, message_id, digest, instance, event, outcome, at)
SELECT 'order', gen_random_uuid(), '\x00', gen_random_uuid(), 'e', 'applied', now()
FROM generate_series(1, 30000);

INSERT INTO knarr.origin (saga, instance, run, message_id, fingerprint, envelope)
SELECT 'order', gen_random_uuid(), 1, gen_random_uuid(), '\x00', '{}'
FROM generate_series(1, 30000);

INSERT INTO knarr.correlation (saga, key, key_name, key_value, instance, generation, free)
SELECT 'order', gen_random_uuid(), 'number', n::text, gen_random_uuid(), 1, false
FROM generate_series(1, 30000) n;

INSERT INTO knarr.timer (id, endpoint, saga, instance, run, name, due_at, attempt, claims,
                         context)
SELECT gen_random_uuid(), 'orders', 'order', gen_random_uuid(), 1, 't', now() + interval '1 day',
       0, 0, '{}'
FROM generate_series(1, 30000);

INSERT INTO knarr.activity (id, endpoint, saga, instance, run, call, payload, idempotency_key,
                            attempt, claims, due_at, context)
SELECT gen_random_uuid(), 'orders', 'order', gen_random_uuid(), 1, 'Look', 'null',
       gen_random_uuid(), 0, 0, now() + interval '1 day', '{}'
FROM generate_series(1, 30000);

INSERT INTO knarr.parked (id, endpoint, saga, message_id, digest, instance, seq, reason, attempt,
                          claims, due_at, envelope)
SELECT gen_random_uuid(), 'orders', 'order', gen_random_uuid(), '\x00', gen_random_uuid(), 1,
       'retry', 1, 0, now() + interval '1 day', '{}'
FROM generate_series(1, 30000);

INSERT INTO knarr.quarantine (id, endpoint, saga, message_id, digest, class, status, at, detail,
                              body)
SELECT gen_random_uuid(), 'orders', 'order', gen_random_uuid(), '\x00', 'unhandled', 'held', now(),
       '{}', ''
FROM generate_series(1, 30000);

INSERT INTO knarr.withdrawn (instance, run, endpoint)
SELECT gen_random_uuid(), 1, 'orders'
FROM generate_series(1, 30000);

INSERT INTO knarr.block (quarantined, endpoint, by, value, definition_version, lets)
SELECT gen_random_uuid(), 'billing', 'id', n::text, 1, gen_random_uuid()
FROM generate_series(1, 30000) n;
