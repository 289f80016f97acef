//! Back from quarantine: let go once under a new id, edited, given up, or no longer blocking.

use std::sync::Arc;

use bytes::Bytes;
use knarr_model::format::{self, Inbound};
use knarr_model::incident::Block;
use knarr_model::ports::guard::{Plan, Refusal, Scene};
use knarr_model::ports::store::EndpointState;
use knarr_model::quarantine::{Edit, Quarantined, Status};
use knarr_model::topology::{Subscription, WithoutId};
use knarr_model::work::{Addressing, Outgoing, Parked, ParkedReason};
use knarr_model::{Class, Digest, Envelope, MessageId, RowId, ids};

use crate::contain::ORIGINAL;
use crate::incident::emptied;
use crate::order::Moment;
use crate::purge::with_new_guard;

/// The header that tells the engine which set-aside message a delivery is.
pub const RELEASE: &str = "Knarr-Release";

/// Reads a set-aside message as its endpoint would.
///
/// # Errors
/// What is wrong with it, for people.
pub fn read(row: &Quarantined, subscriptions: &[Subscription]) -> Result<Envelope, String> {
    if row.size > row.body.len() as u64 {
        let kept = row.body.len();
        return Err(format!("only {kept} of its {} bytes were kept: edit it first", row.size));
    }
    let read = format::read(&Inbound {
        endpoint: &row.endpoint,
        subscriptions,
        content_type: row.content_type.as_deref(),
        message_id: Some(&row.message_id.to_string()),
        correlation_id: None,
        reply_to: None,
        timestamp: None,
        headers: &row.headers,
        exchange: &row.exchange,
        routing_key: &row.routing_key,
        body: &row.body,
        from_broker: false,
        without_id: WithoutId::Digest,
    });
    read.content.map_err(|why| format!("it cannot be read: {}", why.reason))
}

/// Lets set-aside messages go, each once, under new ids. `envelopes` are what they say, in the
/// order of the scene's rows, or why they cannot be read.
pub fn release(
    scene: &Scene,
    at: &Moment,
    envelopes: &[Result<Envelope, String>],
) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    let mut done = Vec::new();
    let mut leaving = Vec::new();
    for (row, envelope) in held(scene)?.into_iter().zip(envelopes) {
        let new = new_id(row);
        if row.class == Class::Unroutable {
            leaving.push(outgoing(row, new));
        } else {
            let envelope = envelope
                .as_ref()
                .map_err(|why| Refusal::Invalid(format!("message {}: {why}", row.message_id)))?;
            plan.deliveries.push(delivery(row, envelope, new, at));
        }
        let released =
            Quarantined { status: Status::Released, released_as: Some(new), ..row.clone() };
        plan.changed.push(released);
        for block in scene.blocks.iter().filter(|block| block.quarantined == row.id) {
            plan.blocks.push(Block { lets: Some(new), ..block.clone() });
        }
        done.push(format!("message {} goes as {new}", row.message_id));
    }
    if !leaving.is_empty() {
        plan.outgoing = Some((at.chunk, leaving));
    }
    let waits = scene.endpoint.state == EndpointState::Halted && !plan.deliveries.is_empty();
    if waits {
        done.push(format!("it waits until {} is resumed", scene.endpoint.name));
    }
    plan.endpoint = Some(with_new_guard(scene));
    let mut audit = at.line("release", target(scene), &scene.endpoint.name, done);
    audit.waits = waits;
    plan.audit = Some(audit);
    Ok(plan)
}

/// The id under which a set-aside message goes. A row that is set aside again, since its run was
/// retried and failed once more, belongs to another incident and goes under another id.
fn new_id(row: &Quarantined) -> MessageId {
    let (number, incident) = (row.edits.len() as u64, row.incident.unwrap_or_default());
    let parts: [&[u8]; 4] =
        [b"release", row.id.as_bytes(), incident.as_bytes(), &number.to_be_bytes()];
    MessageId(ids::derived_id(&parts))
}

fn delivery(row: &Quarantined, envelope: &Envelope, new: MessageId, at: &Moment) -> Parked {
    let mut envelope = envelope.clone();
    envelope.headers.set(ORIGINAL, row.message_id.to_string());
    envelope.headers.set(RELEASE, row.id.to_string());
    envelope.message_id = new;
    // Its time has been spent in quarantine, where a person decides how long it lives.
    envelope.expiration_time = None;
    Parked {
        id: RowId(new.0),
        endpoint: row.endpoint.clone(),
        saga: row.saga.clone(),
        message_id: new,
        digest: Digest::of_message(&envelope.message),
        // Where it belongs is found out again: it may have been edited, or its key be another's.
        instance: None,
        seq: 0,
        reason: ParkedReason::Retry,
        attempt: 0,
        claims: 0,
        due_at: Some(at.now),
        error: None,
        envelope: Arc::new(envelope),
    }
}

/// A message of ours that no queue took is published again.
fn outgoing(row: &Quarantined, new: MessageId) -> Outgoing {
    let mut headers = row.headers.clone();
    headers.set(ORIGINAL, row.message_id.to_string());
    Outgoing {
        id: new,
        sequence: None,
        exchange: row.exchange.clone(),
        routing_key: row.routing_key.clone(),
        addressing: Addressing::Exchange,
        content_type: row.content_type.clone().unwrap_or_default(),
        correlation_id: None,
        headers,
        expires_at: None,
        priority: None,
        body: row.body.clone(),
    }
}

/// Replaces what a set-aside message says; `checked` is whether its endpoint takes it so.
pub fn edit(
    scene: &Scene,
    at: &Moment,
    body: &Bytes,
    content_type: Option<&str>,
    checked: &Result<Envelope, String>,
) -> Result<Plan, Refusal> {
    let rows = held(scene)?;
    let [row] = rows.as_slice() else {
        return Err(Refusal::Invalid("one message is edited at a time".to_owned()));
    };
    if let Err(why) = checked {
        return Err(Refusal::Invalid(format!("as edited, {why}")));
    }
    let mut new = (*row).clone();
    new.edits.push(Edit {
        who: at.order.who.clone(),
        at: at.now,
        before: String::from_utf8_lossy(&row.body).into_owned(),
    });
    new.body = body.clone();
    new.size = body.len() as u64;
    if let Some(content_type) = content_type {
        new.content_type = Some(content_type.to_owned());
    }
    let done = vec![format!("message {} has {} bytes now", row.message_id, new.size)];
    let audit = at.line("edit", target(scene), &scene.endpoint.name, done);
    Ok(Plan { changed: vec![new], audit: Some(audit), ..Plan::default() })
}

/// The set-aside message as it would be after an edit: to be checked before [`edit`].
pub fn as_edited(row: &Quarantined, body: &Bytes, content_type: Option<&str>) -> Quarantined {
    let mut new = row.clone();
    new.body = body.clone();
    new.size = body.len() as u64;
    if let Some(content_type) = content_type {
        new.content_type = Some(content_type.to_owned());
    }
    new
}

/// Gives set-aside messages up: their bytes go. What they block stays blocked.
pub fn discard(scene: &Scene, at: &Moment) -> Result<Plan, Refusal> {
    let changed: Vec<_> = held(scene)?.into_iter().map(emptied).collect();
    let done =
        changed.iter().map(|row| format!("message {} is given up", row.message_id)).collect();
    let audit = at.line("discard", target(scene), &scene.endpoint.name, done);
    Ok(Plan { changed, audit: Some(audit), ..Plan::default() })
}

/// Copies of these messages may start runs again.
pub fn unblock(scene: &Scene, at: &Moment) -> Result<Plan, Refusal> {
    known(scene)?;
    let unblocked: Vec<_> = scene.blocks.iter().map(|block| block.quarantined).collect();
    if unblocked.is_empty() {
        return Err(Refusal::Conflict("it blocks nothing".to_owned()));
    }
    let done = vec!["copies of it may start runs again".to_owned()];
    let audit = at.line("unblock", target(scene), &scene.endpoint.name, done);
    Ok(Plan {
        endpoint: Some(with_new_guard(scene)),
        unblocked,
        audit: Some(audit),
        ..Plan::default()
    })
}

/// A newer definition was deployed: one copy may start and show whether it goes now.
pub fn let_one_through(
    scene: &Scene,
    at: &Moment,
    message: MessageId,
    version: u32,
) -> Result<Plan, Refusal> {
    let blocks: Vec<_> = scene
        .blocks
        .iter()
        .filter(|block| block.definition_version < version)
        .map(|block| Block { lets: Some(message), definition_version: version, ..block.clone() })
        .collect();
    if blocks.is_empty() {
        return Err(Refusal::Changed);
    }
    let done = vec![format!("version {version} is new to it: {message} may start")];
    let audit = at.line("let through", target(scene), &scene.endpoint.name, done);
    Ok(Plan {
        endpoint: Some(with_new_guard(scene)),
        blocks,
        audit: Some(audit),
        ..Plan::default()
    })
}

fn known(scene: &Scene) -> Result<(), Refusal> {
    if scene.quarantined.is_empty() {
        return Err(Refusal::Unknown("there is no such set-aside message".to_owned()));
    }
    let endpoint = &scene.endpoint.name;
    match scene.quarantined.iter().find(|row| row.endpoint != *endpoint) {
        Some(row) => Err(Refusal::Invalid(format!(
            "message {} is of {}, the others are of {endpoint}: one endpoint at a time",
            row.message_id, row.endpoint
        ))),
        None => Ok(()),
    }
}

/// The scene's messages, all of them still held.
fn held(scene: &Scene) -> Result<Vec<&Quarantined>, Refusal> {
    known(scene)?;
    match scene.quarantined.iter().find(|row| row.status != Status::Held) {
        Some(row) => {
            let text = format!("message {} was {} already", row.message_id, row.status.as_str());
            Err(Refusal::Conflict(text))
        }
        None => Ok(scene.quarantined.iter().collect()),
    }
}

fn target(scene: &Scene) -> String {
    match scene.quarantined.as_slice() {
        [row] => format!("quarantine {}", row.id),
        rows => format!("{} set-aside messages of {}", rows.len(), scene.endpoint.name),
    }
}

#[cfg(test)]
mod tests {
    use knarr_model::incident::BlockBy;

    use super::*;
    use crate::scenes::{bare, start};

    fn takes() -> Vec<Subscription> {
        vec![Subscription {
            urn: "urn:message:Knarr.UrlScan:SubmitUrl".to_owned(),
            exchange: "Knarr.UrlScan:SubmitUrl".to_owned(),
        }]
    }

    fn scene() -> Scene {
        let row = start();
        let block = Block {
            quarantined: row.id,
            endpoint: row.endpoint.clone(),
            by: BlockBy::Fingerprint,
            value: row.fingerprint.clone().expect("a start"),
            incident: None,
            definition_version: 1,
            lets: None,
        };
        Scene { quarantined: vec![row], blocks: vec![block], ..bare() }
    }

    #[test]
    fn s0_14_a_release_goes_once_under_a_new_id_and_its_block_lets_only_that_one() {
        let at = Moment::for_test("anna");
        let mut scene = scene();
        let read = read(&scene.quarantined[0], &takes());
        let plan = release(&scene, &at, std::slice::from_ref(&read)).expect("planned");
        let parked = &plan.deliveries[0];
        assert_ne!(parked.message_id, start().message_id);
        assert_eq!(parked.envelope.headers.text(RELEASE), Some(start().id.to_string()));
        assert_eq!(plan.blocks[0].lets, Some(parked.message_id));
        assert_eq!(plan.endpoint.as_ref().expect("changed").guard_version, 1);
        assert!(!plan.audit.as_ref().expect("told").waits);
        scene.quarantined = plan.changed.clone();
        let refused = release(&scene, &at, &[read]).expect_err("once");
        assert!(matches!(refused, Refusal::Conflict(_)));
    }

    #[test]
    fn s0_14_a_message_that_is_set_aside_again_goes_under_another_id() {
        let at = Moment::for_test("anna");
        let released = |incident: u128| {
            let mut scene = scene();
            scene.quarantined[0].incident = Some(uuid::Uuid::from_u128(incident));
            let read = read(&scene.quarantined[0], &takes());
            release(&scene, &at, &[read]).expect("planned").deliveries[0].message_id
        };
        assert_eq!(released(1), released(1));
        assert_ne!(released(1), released(2), "the first one has its outcome");
    }

    #[test]
    fn guard_a_release_waits_while_the_endpoint_is_halted_and_says_so() {
        let mut scene = scene();
        scene.endpoint.state = EndpointState::Halted;
        let read = read(&scene.quarantined[0], &takes());
        let plan = release(&scene, &Moment::for_test("anna"), &[read]).expect("planned");
        let audit = plan.audit.expect("told");
        assert!(audit.waits && audit.done.iter().any(|text| text.contains("resumed")));
    }

    #[test]
    fn row_095_an_edit_is_checked_and_keeps_what_was_there() {
        let at = Moment::for_test("anna");
        let scene = scene();
        let check = |body: &Bytes| read(&as_edited(&scene.quarantined[0], body, None), &takes());
        let bad = Bytes::from_static(b"{ no JSON");
        let refused = edit(&scene, &at, &bad, None, &check(&bad)).expect_err("invalid");
        assert!(matches!(refused, Refusal::Invalid(_)));
        let good = Bytes::from_static(b"{\"scanId\":\"y\"}");
        let plan = edit(&scene, &at, &good, None, &check(&good)).expect("planned");
        let row = &plan.changed[0];
        assert_eq!((&row.body, row.edits.len()), (&good, 1));
        assert_eq!(row.edits[0].before, "{\"scanId\":\"x\"}");
        assert_eq!(row.fingerprint, start().fingerprint, "the original stays blocked");
    }

    #[test]
    fn what_was_cut_is_not_released_unread() {
        let mut row = start();
        row.size += 1;
        assert!(read(&row, &takes()).expect_err("cut").contains("edit it first"));
    }

    #[test]
    fn guard_a_newer_definition_lets_one_copy_through() {
        let at = Moment::for_test("knarr");
        let copy = MessageId(uuid::Uuid::from_u128(5));
        let plan = let_one_through(&scene(), &at, copy, 2).expect("planned");
        assert_eq!((plan.blocks[0].lets, plan.blocks[0].definition_version), (Some(copy), 2));
        assert_eq!(let_one_through(&scene(), &at, copy, 1).expect_err("old"), Refusal::Changed);
    }

    #[test]
    fn a_discarded_message_goes_on_blocking_until_it_is_unblocked() {
        let at = Moment::for_test("anna");
        let plan = discard(&scene(), &at).expect("planned");
        assert!(plan.unblocked.is_empty() && plan.changed[0].body.is_empty());
        let plan = unblock(&scene(), &at).expect("planned");
        assert_eq!(plan.unblocked, [start().id]);
        assert!(unblock(&Scene { blocks: Vec::new(), ..scene() }, &at).is_err());
    }
}
