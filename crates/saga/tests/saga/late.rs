//! Messages that come too early, too late, again, or in the wrong state.

use knarr_model::instance::PURGED;
use knarr_saga::Verdict;
use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};

use crate::kit::{Bench, ID};
use crate::messages;

messages!(Start, Stop, Early, Status, Drop, Aside);

#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Test")]
struct Count {
    correlation_id: uuid::Uuid,
    n: i32,
}

#[derive(Clone, Copy, Debug, States)]
enum Step {
    Running,
    Ready,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Counter {
    n: i32,
}

impl Machine for Counter {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.missing::<Status>(MissingPolicy::redeliver(10, millis(200)));
        m.missing::<Drop>(MissingPolicy::Discard);
        m.missing::<Aside>(MissingPolicy::SetAside);
        m.initially::<Start>().create(|_, _| Counter { n: 0 }).go_to(Step::Running);
        m.during([Step::Running]).on::<Count>().ignore_if(|c, e| e.n <= c.n).then(count).stay();
        m.during([Step::Running]).on::<Early>().defer();
        m.during([Step::Ready]).on::<Early>().then(|c, _, _| c.n += 100).stay();
        m.during([Step::Running]).on::<Status>().go_to(Step::Ready);
        m.during([Step::Ready]).on::<Status>().ignore();
        m.during_any().on::<Stop>().finish();
        m.during_any().on::<Drop>().stay();
        m.during_any().on::<Aside>().stay();
    }
}

fn count(counter: &mut Counter, e: &Count, _: &mut Effects<Counter>) {
    counter.n = e.n;
}

fn bench() -> Bench {
    let mut bench = Bench::of::<Counter>();
    bench.send(&Start::default());
    bench.reload();
    bench
}

#[test]
fn mt_053_mt_059_a_start_message_for_a_live_instance_without_a_row_is_unhandled() {
    let mut bench = bench();
    let decision = bench.send(&Start::default());
    assert_eq!(decision.verdict, Verdict::Unhandled);
    assert_eq!((decision.from.as_str(), decision.to.as_str()), ("Running", "Running"));
    assert!(decision.effects.is_empty() && !bench.live.is_changed());
}

#[test]
fn mt_054_mt_055_an_ignored_message_changes_nothing() {
    let mut bench = bench();
    bench.send(&Status::default());
    bench.reload();
    assert_eq!(bench.send(&Status::default()).verdict, Verdict::Ignored);
    assert!(!bench.live.is_changed());
    assert_eq!(bench.stored().expect("stored").book.applied, 2);
}

#[test]
fn ignore_if_ignores_only_the_events_it_names() {
    let mut bench = bench();
    let count = |n| Count { correlation_id: ID, n };
    assert_eq!(bench.send(&count(5)).verdict, Verdict::Applied);
    assert_eq!(bench.send(&count(5)).verdict, Verdict::Ignored);
    assert_eq!(bench.send(&count(6)).verdict, Verdict::Applied);
    assert_eq!(bench.data::<Counter>().n, 6);
}

#[test]
fn a_deferred_message_waits_for_a_change_of_state() {
    let mut bench = bench();
    let decision = bench.send(&Early::default());
    assert_eq!(decision.verdict, Verdict::Deferred);
    bench.live.note_deferred(&decision.event);
    bench.live.note_deferred(&decision.event);
    assert!(bench.live.is_changed());
    bench.reload();
    assert_eq!(bench.stored().expect("stored").book.deferred, ["Test:Early"]);
    bench.send(&Count { correlation_id: ID, n: 1 });
    assert_eq!(bench.stored().expect("stored").book.deferred.len(), 1, "the state is the same");
    bench.send(&Status::default());
    assert!(bench.stored().expect("stored").book.deferred.is_empty());
    assert_eq!(bench.send(&Early::default()).verdict, Verdict::Applied);
    assert_eq!(bench.data::<Counter>().n, 101);
}

#[test]
fn mt_049_mt_050_mt_051_a_message_without_its_instance_follows_its_policy() {
    let mut bench = Bench::of::<Counter>();
    let policy = |verdict| match verdict {
        Verdict::Missing(policy) => (policy.attempts, policy.first),
        other => panic!("not missing: {other:?}"),
    };
    assert_eq!(policy(bench.send(&Status::default()).verdict), (11, millis(200)));
    assert_eq!(policy(bench.send(&Stop::default()).verdict), (6, seconds(2)));
    assert_eq!(policy(bench.send(&Aside::default()).verdict).0, 1);
    assert_eq!(bench.send(&Drop::default()).verdict, Verdict::Ignored);
    assert!(bench.stored().is_none());
}

#[test]
fn mt_063_behaviours_2_3_a_finished_instance_ignores_every_message() {
    let mut bench = bench();
    bench.send(&Stop::default());
    bench.reload();
    assert_eq!(bench.send(&Status::default()).verdict, Verdict::Ignored);
    assert_eq!(bench.send(&Start::default()).verdict, Verdict::Ignored);
    assert!(!bench.live.is_changed());
}

#[test]
fn guard_a_purged_instance_absorbs_every_message() {
    let mut bench = bench();
    let mut stored = bench.stored().expect("stored");
    stored.state = PURGED.to_owned();
    stored.data = crate::kit::raw(&());
    bench.live = bench.definition.open(stored.id, Some(&stored)).expect("opens");
    assert_eq!(bench.send(&Status::default()).verdict, Verdict::Absorbed);
    assert_eq!(bench.send(&Start::default()).verdict, Verdict::Absorbed);
    assert_eq!(bench.stored().expect("stored").state, PURGED);
}

#[derive(Clone, Serialize, Deserialize)]
struct Lenient;

impl Machine for Lenient {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.unhandled(Ignore);
        m.initially::<Start>().create(|_, _| Lenient).go_to(Step::Running);
        m.during([Step::Running]).on::<Stop>().finish();
    }
}

#[test]
fn mt_057_a_machine_may_ignore_everything_unhandled() {
    let mut bench = Bench::of::<Lenient>();
    bench.send(&Start::default());
    assert_eq!(bench.send(&Start::default()).verdict, Verdict::Ignored);
    assert_eq!(bench.send(&Stop::default()).verdict, Verdict::Applied, "later events work");
}
