-- Statement (d) of a commit: everything but the instances, which (c) has locked.
--
-- All parts see the rows as they were before the statement, and Postgres fixes no order among
-- them: no part may touch a row that another part touches. Rows are found by arrays of ids, never
-- by joins alone, and sagas are compared by what no index serves, so that a plan made while a table
-- was empty stays right when it has grown (tests/plans.rs).
WITH
journaled AS (
  INSERT INTO journal (saga, message_id, digest, instance, run, seq, event, from_state, to_state,
                       outcome, at)
  SELECT $1, new.*
  FROM unnest($4::uuid[], $5::bytea[], $6::uuid[], $7::bigint[], $8::bigint[], $9::text[],
              $10::text[], $11::text[], $12::text[], $13::timestamptz[]) AS new
  ON CONFLICT (saga, message_id) DO NOTHING
  RETURNING message_id),
started AS (
  INSERT INTO origin (saga, instance, run, message_id, fingerprint, envelope)
  SELECT $1, new.*
  FROM unnest($14::uuid[], $15::bigint[], $16::uuid[], $17::bytea[], $18::text[]) AS new
  ON CONFLICT (saga, instance, run) DO UPDATE
  SET message_id = excluded.message_id, fingerprint = excluded.fingerprint,
      envelope = excluded.envelope),
forgotten AS (
  DELETE FROM origin
  WHERE instance = ANY ($19::uuid[]) AND saga IS NOT DISTINCT FROM $1
    AND (instance, run) IN (SELECT * FROM unnest($19, $20::bigint[]))),
keyed AS (
  INSERT INTO correlation (saga, key, key_name, key_value, instance, generation, free)
  SELECT $1, new.*
  FROM unnest($21::uuid[], $22::text[], $23::text[], $24::uuid[], $25::bigint[], $26::bool[])
       AS new
  ON CONFLICT (saga, key) DO UPDATE
  SET instance = excluded.instance, generation = excluded.generation, free = excluded.free
  WHERE correlation.free AND correlation.generation = excluded.generation - 1
     OR correlation.instance = excluded.instance AND correlation.generation = excluded.generation
  RETURNING key),
timers AS (
  INSERT INTO timer (id, endpoint, saga, instance, run, name, due_at, attempt, claims, context)
  SELECT new.*
  FROM unnest($27::uuid[], $28::text[], $29::text[], $30::uuid[], $31::bigint[], $32::text[],
              $33::timestamptz[], $34::bigint[], $35::bigint[], $36::text[]) AS new),
cancelled_timers AS (
  DELETE FROM timer WHERE id = ANY ($37::uuid[])),
taken_timers AS (
  DELETE FROM timer
  WHERE id = ANY ($38::uuid[]) AND node = $2
    AND (id, claims) IN (SELECT * FROM unnest($38, $39::bigint[]))
  RETURNING id),
again_timers AS (
  UPDATE timer
  SET due_at = coalesce(new.due_at, timer.due_at), attempt = new.attempt, node = NULL
  FROM unnest($40::uuid[], $41::bigint[], $42::timestamptz[], $43::bigint[])
       AS new (id, claims, due_at, attempt)
  WHERE timer.id = new.id AND timer.id = ANY ($40) AND timer.node = $2
    AND timer.claims = new.claims
  RETURNING timer.id),
calls AS (
  INSERT INTO activity (id, endpoint, saga, instance, run, call, payload, idempotency_key, attempt,
                        claims, memo, due_at, retry, deadline_us, context)
  SELECT new.*
  FROM unnest($44::uuid[], $45::text[], $46::text[], $47::uuid[], $48::bigint[], $49::text[],
              $50::text[], $51::uuid[], $52::bigint[], $53::bigint[], $54::text[],
              $55::timestamptz[], $56::text[], $57::bigint[], $58::text[]) AS new),
cancelled_calls AS (
  DELETE FROM activity WHERE id = ANY ($59::uuid[])),
taken_calls AS (
  DELETE FROM activity
  WHERE id = ANY ($60::uuid[]) AND node = $2 AND ended IS NOT NULL
    AND (id, claims) IN (SELECT * FROM unnest($60, $61::bigint[]))
  RETURNING id),
again_calls AS (
  UPDATE activity
  SET due_at = coalesce(new.due_at, activity.due_at), decide_attempt = new.attempt, node = NULL
  FROM unnest($62::uuid[], $63::bigint[], $64::timestamptz[], $65::bigint[])
       AS new (id, claims, due_at, attempt)
  WHERE activity.id = new.id AND activity.id = ANY ($62)
    AND activity.node = $2 AND activity.claims = new.claims AND activity.ended IS NOT NULL
  RETURNING activity.id),
-- A held message whose head is gone is due. $88 are the heads that go with this commit: taken, or
-- from now on waiting for something that blocks nobody.
parks AS (
  INSERT INTO parked (id, endpoint, saga, message_id, digest, instance, seq, reason, attempt,
                      claims, due_at, error, envelope)
  SELECT new.id, new.endpoint, new.saga, new.message_id, new.digest, new.instance, new.seq,
         new.reason, new.attempt, new.claims,
         CASE WHEN new.reason = 'held' AND new.due_at > statement_timestamp() AND new.first
                   AND NOT EXISTS (
                     SELECT FROM parked b
                     WHERE b.saga = new.saga AND b.instance = new.instance
                       AND b.reason IN ('retry', 'held', 'suspect')
                       AND (b.seq, b.id) < (new.seq, new.id) AND b.id <> ALL ($88::uuid[]))
              THEN statement_timestamp()
              ELSE new.due_at END,
         new.error, new.envelope
  FROM unnest($66::uuid[], $67::text[], $68::text[], $69::uuid[], $70::bytea[], $71::uuid[],
              $72::bigint[], $73::text[], $74::bigint[], $75::bigint[], $76::timestamptz[],
              $77::text[], $78::text[], $79::bool[])
       AS new (id, endpoint, saga, message_id, digest, instance, seq, reason, attempt, claims,
               due_at, error, envelope, first)
  ON CONFLICT (saga, message_id) DO NOTHING
  RETURNING message_id),
again_parked AS (
  UPDATE parked
  SET due_at = CASE WHEN coalesce(new.reason, parked.reason) = 'held'
                         AND new.due_at > statement_timestamp()
                         AND NOT EXISTS (
                           SELECT FROM parked b
                           WHERE b.saga = parked.saga
                             AND b.instance = coalesce(new.instance, parked.instance)
                             AND b.reason IN ('retry', 'held', 'suspect')
                             AND (b.seq, b.id) < (coalesce(new.seq, parked.seq), parked.id)
                             AND b.id <> ALL ($88))
                    THEN statement_timestamp()
                    ELSE new.due_at END,
      attempt = new.attempt, error = new.error, reason = coalesce(new.reason, parked.reason),
      instance = coalesce(new.instance, parked.instance),
      seq = coalesce(new.seq, parked.seq), node = NULL
  FROM unnest($80::uuid[], $81::bigint[], $82::timestamptz[], $83::bigint[], $84::text[],
              $85::text[], $86::uuid[], $87::bigint[])
       AS new (id, claims, due_at, attempt, error, reason, instance, seq)
  WHERE parked.id = new.id AND parked.id = ANY ($80) AND parked.node = $2
    AND parked.claims = new.claims
  RETURNING parked.id),
taken_parked AS (
  DELETE FROM parked
  WHERE id = ANY ($89::uuid[]) AND node = $2
    AND (id, claims) IN (SELECT * FROM unnest($89, $90::bigint[]))
  RETURNING id),
woken AS (
  UPDATE parked SET due_at = statement_timestamp()
  WHERE instance = ANY ($91::uuid[] || $92::uuid[] || $107::uuid[])
    AND saga IS NOT DISTINCT FROM $1
    AND (instance = ANY ($91) AND reason = 'deferred'
         OR instance = ANY ($92) AND reason = 'held' AND due_at IS NOT NULL
         OR instance = ANY ($107) AND reason = 'held')
    AND (due_at IS NULL OR due_at > statement_timestamp())
    AND id <> ALL ($80) AND id <> ALL ($89)
  RETURNING id),
chunks AS (
  INSERT INTO outbox (id, endpoint, node, directory, bodies)
  SELECT new.id, $3, $2, new.directory, new.bodies
  FROM unnest($93::uuid[], $94::text[], $95::bytea[]) AS new (id, directory, bodies)),
finished AS (
  DELETE FROM outbox WHERE id = ANY ($96::uuid[])),
set_aside AS (
  INSERT INTO quarantine (id, endpoint, saga, message_id, digest, class, status, at, detail, body)
  SELECT new.*
  FROM unnest($97::uuid[], $98::text[], $99::text[], $100::uuid[], $101::bytea[], $102::text[],
              $103::text[], $104::timestamptz[], $105::text[], $106::bytea[]) AS new
  ON CONFLICT (endpoint, message_id, digest) DO NOTHING)
SELECT ARRAY (SELECT message_id FROM journaled) AS journaled,
       ARRAY (SELECT message_id FROM parks) AS parked,
       ARRAY (SELECT id FROM taken_timers UNION ALL SELECT id FROM again_timers
              UNION ALL SELECT id FROM taken_calls UNION ALL SELECT id FROM again_calls
              UNION ALL SELECT id FROM taken_parked UNION ALL SELECT id FROM again_parked) AS owned,
       ARRAY (SELECT key FROM keyed) AS keys,
       EXISTS (SELECT FROM woken) AS woke
