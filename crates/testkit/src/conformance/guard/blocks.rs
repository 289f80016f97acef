//! Blocks and what is set aside: changed under the fence, seen by every commit.

use bytes::Bytes;
use knarr_model::commit::{Commit, CommitOutcome, JournalRow, Outcome, Slice};
use knarr_model::ids::{InstanceId, MessageId};
use knarr_model::incident::{Block, BlockBy, Incident};
use knarr_model::instance::{FINAL, Instance};
use knarr_model::ports::guard::{Ask, Plan};
use knarr_model::quarantine::{Class, Edit, Quarantined, Status};

use super::fixture::Guards;
use super::plan::{block, next_guard};
use super::world::GuardWorld;
use crate::conformance::store::exact::json;
use crate::conformance::store::world::{HARD_TEXT, every_header};

/// A changed block set comes with the endpoint's next `guard_version`: a commit decided at the old
/// one is told to look again, on every node.
pub async fn s0_14_a_changed_block_set_turns_back_what_was_decided_before(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let id = InstanceId(world.id());
    let early = world.commit_of(vec![world.step(id, 1)]).await;
    assert_eq!(blocks(&world).await, (early.guard_version, Vec::new()));
    let wanted = block(&world.endpoint, world.id());
    let own = wanted.clone();
    world
        .verb(world.ask(), move |scene| Plan {
            endpoint: Some(next_guard(&scene.endpoint)),
            blocks: vec![own.clone()],
            ..Plan::default()
        })
        .await;
    assert_eq!(blocks(&world).await, (early.guard_version + 1, vec![wanted]));
    let outcome = world.second().commit(early.clone()).await.expect("answered");
    assert!(matches!(outcome, CommitOutcome::GuardChanged), "{outcome:?}");
    assert_eq!(world.version(id).await, 0);
    let again = Commit { guard_version: early.guard_version + 1, ..early };
    let outcome = world.second().commit(again).await.expect("answered");
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

async fn blocks(world: &GuardWorld) -> (i64, Vec<Block>) {
    let (version, mut blocks) =
        world.second_guard.blocks(&world.endpoint).await.expect("blocks are read");
    blocks.sort_by_key(|block| block.quarantined);
    (version, blocks)
}

/// Blocks are replaced and lifted by the set-aside message that blocks; those of other messages and
/// endpoints stay. A scene shows those of the messages asked for.
pub async fn guard_blocks_are_replaced_and_lifted_by_their_message(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let mut wanted: Vec<_> = (0..3).map(|_| block(&world.endpoint, world.id())).collect();
    wanted.sort_by_key(|block| block.quarantined);
    wanted[1] = Block {
        by: BlockBy::Id,
        value: HARD_TEXT.to_owned(),
        incident: Some(world.id()),
        definition_version: 41,
        lets: Some(MessageId(world.id())),
        ..wanted[1].clone()
    };
    let foreign = block(&"billing".into(), world.id());
    world.write(Plan { blocks: [wanted.clone(), vec![foreign]].concat(), ..Plan::default() }).await;
    assert_eq!(blocks(&world).await.1, wanted);
    wanted[0].lets = Some(MessageId(world.id()));
    let changed = Plan {
        blocks: vec![wanted[0].clone()],
        unblocked: vec![wanted[2].quarantined, world.id()],
        ..Plan::default()
    };
    world.write(changed).await;
    wanted.pop();
    assert_eq!(blocks(&world).await.1, wanted);
    let quarantined = vec![wanted[1].quarantined];
    let scene = world.look(Ask { quarantined, ..world.ask() }).await;
    assert_eq!(scene.blocks, [wanted[1].clone()]);
    assert!(world.look(world.ask()).await.blocks.is_empty());
    let none = world.guard.blocks(&"nowhere".into()).await.expect("blocks are read");
    assert_eq!(none, (0, Vec::new()));
    assert_eq!(world.guard.blocks(&"billing".into()).await.expect("read").1.len(), 1);
}

async fn stored(world: &GuardWorld, row: &Quarantined) -> Quarantined {
    let found = world.stores.records.quarantined(row.id).await.expect("it is read");
    found.expect("the message is set aside")
}

fn same(left: &Quarantined, right: &Quarantined) {
    assert_eq!((json(left), &left.body), (json(right), &right.body));
}

/// Set-aside messages are shown in the order asked for, without those that nobody knows, and are
/// replaced by id: status, body, history. The others stay.
pub async fn guard_set_aside_messages_are_replaced_by_id(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let mut rows: Vec<_> = (0..3).map(|_| world.quarantined(Class::Exhausted)).collect();
    rows[0] = Quarantined {
        headers: every_header(),
        body: Bytes::from_static(&[0, 255, 1]),
        incident: Some(world.id()),
        copies: 3,
        ..rows[0].clone()
    };
    world.write(Plan { set_aside: rows.clone(), ..Plan::default() }).await;
    let quarantined = vec![rows[2].id, world.id(), rows[0].id];
    let seen = world.look(Ask { quarantined, ..world.ask() }).await.quarantined;
    assert_eq!(seen.len(), 2);
    same(&seen[0], &rows[2]);
    same(&seen[1], &rows[0]);
    let edit = Edit { who: "anna".to_owned(), at: world.now(), before: HARD_TEXT.to_owned() };
    rows[0] = Quarantined {
        status: Status::Released,
        body: Bytes::from_static(b"{\"total\":2}"),
        copies: 4,
        released_as: Some(MessageId(world.id())),
        edits: vec![edit],
        ..rows[0].clone()
    };
    let unknown = world.quarantined(Class::Stuck);
    let changed = vec![rows[0].clone(), unknown.clone()];
    world.write(Plan { changed, ..Plan::default() }).await;
    for row in &rows {
        same(&stored(&world, row).await, row);
    }
    assert!(world.stores.records.quarantined(unknown.id).await.expect("it is read").is_none());
}

/// A message that is set aside again (same endpoint, id and content) replaces its row, whose id is
/// kept; what the plan says about the new id is said about the kept one, so that its block and its
/// incident name a row that is there.
pub async fn guard_a_message_set_aside_again_keeps_its_id(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let first = world.quarantined(Class::Unhandled);
    world.write(Plan { set_aside: vec![first.clone()], ..Plan::default() }).await;
    let again = Quarantined {
        id: world.id(),
        class: Class::Exhausted,
        reason: "again".to_owned(),
        ..first.clone()
    };
    let incident = Incident { quarantined: Some(again.id), ..world.incident(Class::Exhausted) };
    let plan = Plan {
        blocks: vec![block(&world.endpoint, again.id)],
        incidents: vec![incident.clone()],
        set_aside: vec![again.clone()],
        ..Plan::default()
    };
    let done = world.write(plan).await;
    assert_eq!(done.plan.set_aside[0].id, first.id);
    assert_eq!(done.plan.blocks[0].quarantined, first.id);
    assert!(world.stores.records.quarantined(again.id).await.expect("it is read").is_none());
    same(&stored(&world, &first).await, &Quarantined { id: first.id, ..again });
    assert_eq!(blocks(&world).await.1, [block(&world.endpoint, first.id)]);
    let stored = world.stored_incident(incident.id).await.expect("it is there");
    assert_eq!(stored.quarantined, Some(first.id));
}

/// A block is outlived when the run that its one message started has finished: the instance is
/// final at that run, or at a later run, or gone. While it lives, when it was purged, when the
/// message did not start anything or is not known yet, the block stays.
pub async fn guard_a_block_is_outlived_when_its_released_run_has_finished(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let mut finished = Vec::new();
    let mut plan = Plan::default();
    let cases = [
        (Some((1, "Waiting")), Outcome::Applied, false),
        (Some((1, FINAL)), Outcome::Applied, true),
        (Some((2, "Waiting")), Outcome::Applied, true),
        (Some((1, knarr_model::instance::PURGED)), Outcome::Applied, false),
        (Some((1, FINAL)), Outcome::Ignored, false),
        (None, Outcome::Applied, true),
    ];
    for (instance, outcome, over) in cases {
        let row = world.quarantined(Class::Exhausted);
        let id = InstanceId(world.id());
        let journal = JournalRow { outcome, ..world.applied(id, 1) };
        let lets = Some(journal.message_id);
        let instance = instance.map(|(run, state)| Instance {
            run,
            state: state.to_owned(),
            ..world.instance(id, 1)
        });
        let slice = Slice { instance, journal: vec![journal], ..world.aside(id) };
        world.commit(vec![slice]).await;
        finished.extend(over.then_some(row.id));
        plan.blocks.push(Block { lets, ..block(&world.endpoint, row.id) });
        plan.set_aside.push(row);
    }
    for lets in [None, Some(MessageId(world.id()))] {
        let row = world.quarantined(Class::Exhausted);
        plan.blocks.push(Block { lets, ..block(&world.endpoint, row.id) });
        plan.set_aside.push(row);
    }
    world.write(plan).await;
    let mut outlived = world.second_guard.outlived_blocks(&world.endpoint).await.expect("read");
    outlived.sort_unstable();
    finished.sort_unstable();
    assert_eq!(outlived, finished);
    assert!(world.guard.outlived_blocks(&"billing".into()).await.expect("read").is_empty());
}
