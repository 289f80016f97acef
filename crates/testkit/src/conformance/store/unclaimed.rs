//! Rows that are due and that nobody claims are counted, by endpoint and call.

use knarr_model::commit::Slice;
use knarr_model::ids::InstanceId;
use knarr_model::ports::store::{EndpointState, Unclaimed};
use knarr_model::work::{AttemptOutcome, AttemptRecord, CallEnd, ParkedReason};

use super::stores::Stores;
use super::world::{World, raw};

const MINUTE: i64 = 60_000;

async fn found(world: &World) -> Vec<Unclaimed> {
    world.second().unclaimed(world.at(-MINUTE)).await.expect("answered")
}

fn group(world: &World, call: Option<&str>, rows: u64) -> Unclaimed {
    Unclaimed { endpoint: world.endpoint.clone(), call: call.map(str::to_owned), rows }
}

/// Timers, calls, ended calls and parked messages that have been due for long count; what is due
/// since a moment, later, or not by time does not. Calls are told apart by their type.
pub async fn pe_261_rows_that_nobody_claims_are_counted_and_named(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let late = -2 * MINUTE;
    let ended = world.call(id, "Ended", late);
    let parked = |seq, reason, millis| world.parked(Some(id), seq, reason, millis);
    world
        .commit(vec![Slice {
            timers: vec![world.timer(id, late), world.timer(id, late), world.timer(id, -1)],
            tasks: vec![
                world.call(id, "Look", late),
                world.call(id, "Listen", late),
                world.call(id, "Listen", late),
                world.call(id, "Listen", MINUTE),
                ended.clone(),
            ],
            parked: vec![
                parked(1, ParkedReason::Missing, Some(late)),
                parked(2, ParkedReason::Deferred, None),
                parked(3, ParkedReason::Retry, Some(MINUTE)),
                parked(4, ParkedReason::Held, Some(late)),
            ],
            ..world.aside(id)
        }])
        .await;
    let calls = ["Ended".to_owned()];
    let claim = world.claim(world.node, 10);
    let claimed = world.store().claim_calls(&claim, &calls).await.expect("claimed");
    let end = AttemptOutcome::Ended(CallEnd::Done(raw("1")));
    let record = AttemptRecord { task: ended.id, claims: claimed[0].claims, outcome: end };
    assert_eq!(world.store().record(world.node, &[record]).await.expect("recorded"), [true]);
    let (listen, look) = (group(&world, Some("Listen"), 2), group(&world, Some("Look"), 1));
    // Two timers and a message that waits alone; what waits behind another one does not count.
    assert_eq!(found(&world).await, [group(&world, None, 3), listen.clone(), look.clone()]);
    world.store().give_back(world.node, &world.endpoint).await.expect("given back");
    // The ended call is nobody's now, and due since it ended: its own saga decides it, whatever
    // its type. With it comes the timer that is due since a moment.
    let soon = world.second().unclaimed(world.at(1_000)).await.expect("answered");
    assert_eq!(soon, [group(&world, None, 5), listen, look]);
}

/// What a live node has claimed is in good hands; what a dead one has is not.
pub async fn pe_261_rows_of_the_living_are_claimed_and_those_of_the_dead_are_not(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let timer = world.timer(id, -2 * MINUTE);
    world.commit(vec![Slice { timers: vec![timer], ..world.aside(id) }]).await;
    let mortal = world.mortal().await;
    assert_eq!(world.claim_timers(world.second(), mortal).await.len(), 1);
    assert!(found(&world).await.is_empty());
    world.outlast_lease().await;
    assert_eq!(found(&world).await, [group(&world, None, 1)]);
}

/// A halted endpoint gives nothing out, so nothing is missing; a paused one does.
pub async fn pe_261_what_a_halt_holds_back_is_not_missing(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let timer = world.timer(id, -2 * MINUTE);
    world.commit(vec![Slice { timers: vec![timer], ..world.step(id, 1) }]).await;
    world.force(EndpointState::Halted).await;
    assert!(found(&world).await.is_empty());
    world.force(EndpointState::Paused).await;
    assert_eq!(found(&world).await, [group(&world, None, 1)]);
}
