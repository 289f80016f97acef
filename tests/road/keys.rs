//! Instances found by a business key: started once, found again, never two for one key.

use std::time::Duration;

use knarr_model::Class;
use knarr_model::commit::{Key, Outcome};
use knarr_saga::prelude::MissingPolicy;

use crate::kit::ticket::{Add, AddByAlias, Close, Counted, Open, Rename, Ticket, ticket};
use crate::kit::{Op, Road};

const SECOND: Duration = Duration::from_secs(1);

fn open(number: &str, by: u32) -> Open {
    Open { number: number.to_owned(), by, alias: None }
}

fn open_as(number: &str, alias: &str) -> Open {
    Open { alias: Some(alias.to_owned()), ..open(number, 0) }
}

fn add(number: &str, by: u32) -> Add {
    Add { number: number.to_owned(), by }
}

fn rename(number: &str, to: &str, alias: Option<&str>) -> Rename {
    Rename { number: number.to_owned(), to: to.to_owned(), alias: alias.map(str::to_owned) }
}

/// Who has a key now.
fn owner(road: &Road, name: &str, value: &str) -> uuid::Uuid {
    let key = Key { name: name.to_owned(), value: value.to_owned() };
    road.rows(|rows| rows.correlation[&("ticket".into(), key)].instance.0)
}

fn ticket_of(road: &Road, number: &str) -> Ticket {
    road.data(owner(road, "number", number))
}

#[tokio::test(start_paused = true)]
async fn a_key_starts_one_instance_and_finds_it_again() {
    let mut road = Road::with(ticket(false)).start();
    road.send(&open("A-1", 1));
    road.send(&open("B-2", 1));
    road.settle().await;
    road.send(&add("A-1", 2));
    road.send(&add("a-1", 4));
    road.settle().await;
    assert_eq!(ticket_of(&road, "A-1").counted, [1, 2]);
    assert_eq!(ticket_of(&road, "B-2").counted, [1]);
    road.crash(0);
    road.join();
    road.send(&add("A-1", 3));
    road.pass_and_settle(12 * SECOND).await;
    assert_eq!(ticket_of(&road, "A-1").counted, [1, 2, 3]);
    // A key that nobody has: waited for like any missing instance, then set aside.
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].class, rows[0].attempts), (Class::Missing, 6));
    assert!(rows[0].reason.contains("key"), "{}", rows[0].reason);
}

#[tokio::test(start_paused = true)]
async fn mt_051_an_update_by_key_before_its_start_waits_for_it() {
    let mut road = Road::with(ticket(false)).start();
    let early = road.send(&add("A-1", 2));
    road.pass(3 * SECOND).await;
    road.send(&open("A-1", 1));
    road.pass_and_settle(3 * SECOND).await;
    assert_eq!(ticket_of(&road, "A-1").counted, [1, 2]);
    assert_eq!(road.outcome(early), Some(Outcome::Applied));
}

#[tokio::test(start_paused = true)]
async fn mt_049_a_message_by_key_follows_its_declared_policy_for_missing() {
    let drop = crate::kit::ticket::ticket_with(|m| m.missing::<Add>(MissingPolicy::Discard));
    let mut road = Road::with(drop).start();
    let gone = road.send(&add("A-1", 1));
    road.settle().await;
    assert_eq!(road.outcome(gone), Some(Outcome::Ignored));
    assert!(road.parked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pe_118_a_start_message_for_a_living_instance_goes_to_it() {
    let mut road = Road::with(ticket(false)).start();
    road.send(&open("A-1", 1));
    road.settle().await;
    let again = road.send(&open("A-1", 5));
    road.settle().await;
    assert_eq!(ticket_of(&road, "A-1").counted, [1, 5]);
    assert_eq!(road.outcome(again), Some(Outcome::Applied));
    assert_eq!(road.rows(|rows| rows.instance.len()), 1);
}

#[tokio::test(start_paused = true)]
async fn pe_113_mt_213_two_starters_of_one_key_make_one_instance_with_both_counted() {
    let mut road = Road::with(ticket(false)).start();
    road.join();
    road.settle().await;
    // Both have read that there is none before either writes.
    for node in 0..2 {
        road.door(node).slow(Op::Load, Duration::ZERO, 3 * SECOND);
        road.broker().serve_only(Some(node));
        road.send(&open("A-1", node as u32 + 1));
        road.pass(SECOND / 10).await;
    }
    road.pass_and_settle(20 * SECOND).await;
    let mut counted = ticket_of(&road, "A-1").counted;
    counted.sort_unstable();
    assert_eq!(counted, [1, 2]);
    assert_eq!(road.rows(|rows| (rows.instance.len(), rows.correlation.len())), (1, 1));
    assert_eq!(road.journal().len(), 2);
    assert_eq!(road.published::<Counted>().len(), 2);
    assert!(road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reusable_key_starts_a_new_instance_after_the_end_and_another_one_does_not() {
    for reusable in [true, false] {
        let mut road = Road::with(ticket(reusable)).start();
        road.send(&open("A-1", 1));
        road.settle().await;
        let first = owner(&road, "number", "A-1");
        road.send(&Close { number: "A-1".to_owned() });
        road.settle().await;
        let again = road.send(&open("A-1", 2));
        road.settle().await;
        road.send(&add("A-1", 3));
        road.settle().await;
        assert_eq!(road.state(first), "Final");
        if reusable {
            assert_ne!(owner(&road, "number", "A-1"), first);
            assert_eq!(ticket_of(&road, "A-1").counted, [2, 3]);
        } else {
            assert_eq!(owner(&road, "number", "A-1"), first);
            assert_eq!(road.outcome(again), Some(Outcome::Ignored));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_freed_and_taken_in_one_batch_makes_two_instances() {
    let mut road = Road::with(ticket(true)).settings(|s| s.lanes = 1).start();
    road.settle().await;
    for by in 1..=3 {
        road.send(&open("A-1", by));
        road.send(&Close { number: "A-1".to_owned() });
    }
    road.send(&open("A-1", 9));
    road.settle().await;
    assert_eq!(ticket_of(&road, "A-1").counted, [9]);
    assert_eq!(road.rows(|rows| rows.instance.len()), 4);
    assert!(road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pe_114_a_key_of_another_instance_is_a_conflict_of_that_message_alone() {
    let mut road = Road::with(ticket(false)).settings(|s| s.lanes = 1).start();
    road.send(&open_as("A-1", "x"));
    road.settle().await;
    // Of a start message, and of one for a living instance; what else is in the batch commits.
    let start = road.send(&open_as("B-2", "x"));
    road.send(&open("C-3", 7));
    road.settle().await;
    let update = road.send(&rename("C-3", "C-3", Some("x")));
    road.send(&open("D-4", 1));
    road.settle().await;
    road.send(&add("C-3", 8));
    road.settle().await;
    let aside: Vec<_> =
        road.quarantine().iter().map(|row| (row.message_id, row.class, row.attempts)).collect();
    assert_eq!(aside, [(start, Class::KeyConflict, 1), (update, Class::KeyConflict, 1)]);
    assert!(road.quarantine()[0].reason.contains("alias = x"), "{:?}", road.quarantine()[0]);
    assert_eq!(ticket_of(&road, "C-3").counted, [7, 8], "its run is sound");
    assert_eq!(ticket_of(&road, "D-4").counted, [1]);
    assert_eq!(owner(&road, "alias", "x"), owner(&road, "number", "A-1"));
    let keys = road.rows(|rows| rows.correlation.len());
    assert_eq!(keys, 4, "what was set aside took no key");
}

#[tokio::test(start_paused = true)]
async fn pe_114_two_that_want_one_key_in_one_batch_are_served_first_come() {
    let mut road = Road::with(ticket(false)).settings(|s| s.lanes = 1).start();
    road.settle().await;
    road.send(&open_as("A-1", "x"));
    let second = road.send(&open_as("B-2", "x"));
    road.send(&open("C-3", 1));
    road.settle().await;
    let aside: Vec<_> = road.quarantine().iter().map(|row| (row.message_id, row.class)).collect();
    assert_eq!(aside, [(second, Class::KeyConflict)]);
    assert_eq!(owner(&road, "alias", "x"), owner(&road, "number", "A-1"));
    assert_eq!(ticket_of(&road, "C-3").counted, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_key_taken_later_finds_the_instance_besides_the_first() {
    let mut road = Road::with(ticket(false)).start();
    road.send(&open("A-1", 1));
    road.settle().await;
    road.send(&rename("A-1", "A-1", Some("x")));
    road.settle().await;
    road.send(&AddByAlias { alias: "x".to_owned(), by: 2 });
    road.send(&add("A-1", 3));
    road.settle().await;
    let mut counted = ticket_of(&road, "A-1").counted;
    counted.sort_unstable();
    assert_eq!(counted, [1, 2, 3]);
    // Asking again for what one has changes nothing.
    road.send(&rename("A-1", "A-1", Some("x")));
    road.settle().await;
    assert!(road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pe_121_changing_the_data_does_not_move_the_key() {
    let mut road = Road::with(ticket(false)).start();
    road.send(&open("A-1", 1));
    road.settle().await;
    road.send(&rename("A-1", "Z-9", None));
    road.settle().await;
    road.send(&add("A-1", 2));
    let lost = road.send(&add("Z-9", 4));
    road.pass_and_settle(12 * SECOND).await;
    let found = ticket_of(&road, "A-1");
    assert_eq!((found.number.as_str(), &found.counted[..]), ("Z-9", &[1, 2][..]));
    assert_eq!(road.outcome(lost), Some(Outcome::Quarantined));
    // The new value is free for another one.
    road.send(&open("Z-9", 5));
    road.settle().await;
    assert_eq!(ticket_of(&road, "Z-9").counted, [5]);
}
