//! Rows, states and what a step leaves behind.

use knarr_saga::Verdict;
use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};

use crate::kit::{Bench, ID, told};
use crate::messages;

messages!(Start, Stop, Hello, Hop);

#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Test", bases("Test:IHello"))]
struct Rename {
    correlation_id: uuid::Uuid,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, States)]
enum Step {
    Running,
    Resting,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Runner {
    name: String,
    hellos: u32,
}

impl Machine for Runner {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.version(3);
        m.initially::<Start>().create(|_, _| Runner::new("new")).go_to(Step::Running);
        m.initially::<Rename>().create(named).then(note).go_to(Step::Resting);
        m.during([Step::Running]).on::<Hop>().go_to(Step::Resting);
        m.during([Step::Running, Step::Resting]).on::<Rename>().then(rename).stay();
        m.during([Step::Running]).on::<Stop>().then(part).finish();
        m.during_any().on::<Hello>().then(hello).finish();
        m.during([Step::Resting]).on::<Hello>().then(hello).then(hello).stay();
    }
}

impl Runner {
    fn new(name: &str) -> Self {
        Runner { name: name.to_owned(), hellos: 0 }
    }
}

fn named(e: &Rename, out: &mut Effects<Runner>) -> Runner {
    out.publish(e.clone()).header("who", "me").priority(4).time_to_live(seconds(5));
    Runner::new(&e.name)
}

fn note(runner: &mut Runner, e: &Rename, _: &mut Effects<Runner>) {
    runner.name = format!("{} ({})", runner.name, e.name.len());
}

fn rename(runner: &mut Runner, e: &Rename, _: &mut Effects<Runner>) {
    runner.name.clone_from(&e.name);
}

fn part(_: &mut Runner, e: &Stop, out: &mut Effects<Runner>) {
    out.send("queue:log", e.clone());
    out.respond(e.clone());
}

fn hello(runner: &mut Runner, _: &Hello, _: &mut Effects<Runner>) {
    runner.hellos += 1;
}

fn rename_to(name: &str) -> Rename {
    Rename { correlation_id: ID, name: name.to_owned() }
}

#[test]
fn mt_001_a_start_row_makes_one_instance_in_its_state() {
    let mut bench = Bench::of::<Runner>();
    assert_eq!(bench.live.state(), "Initial");
    assert!(bench.stored().is_none());
    let decision = bench.send(&Start::default());
    assert_eq!(decision.verdict, Verdict::Applied);
    assert_eq!((decision.from.as_str(), decision.to.as_str()), ("Initial", "Running"));
    assert_eq!(decision.event, "Test:Start");
    let stored = bench.stored().expect("an instance");
    assert_eq!((stored.state.as_str(), stored.run, stored.version), ("Running", 1, 0));
    assert_eq!((stored.definition_version, stored.book.applied), (3, 1));
    assert_eq!(&*stored.saga, "runner");
}

#[test]
fn mt_002_a_finished_instance_can_still_be_read() {
    let mut bench = Bench::of::<Runner>();
    bench.send(&Start::default());
    bench.reload();
    let decision = bench.send(&Stop::default());
    assert_eq!(decision.to, "Final");
    assert_eq!(told(&decision), ["publish Stop", "publish Stop", "finish"]);
    bench.reload();
    assert_eq!(bench.live.state(), "Final");
    assert_eq!(bench.data::<Runner>(), Runner::new("new"));
}

#[test]
fn mt_003_mt_019_the_start_row_fills_the_instance_from_its_message() {
    let mut bench = Bench::of::<Runner>();
    let decision = bench.send(&rename_to("ada"));
    assert_eq!(decision.to, "Resting");
    assert_eq!(bench.data::<Runner>(), Runner::new("ada (3)"));
    let [knarr_model::Effect::Message(message)] = &decision.effects[..] else {
        panic!("one message, not {:?}", decision.effects);
    };
    let names: Vec<_> = message.types.iter().map(|name| name.urn()).collect();
    assert_eq!(names, ["urn:message:Test:Rename", "urn:message:Test:IHello"]);
    assert_eq!(message.correlation_id, Some(ID));
    assert_eq!(message.headers.text("Who").as_deref(), Some("me"));
    assert_eq!((message.priority, message.time_to_live), (Some(4), Some(seconds(5))));
}

#[test]
fn mt_007_a_row_for_any_state_runs_where_the_state_has_none_of_its_own() {
    let mut bench = Bench::of::<Runner>();
    bench.send(&Start::default());
    assert_eq!(bench.send(&Hello::default()).to, "Final");

    let mut bench = Bench::of::<Runner>();
    bench.send(&Start::default());
    bench.send(&Hop::default());
    assert_eq!(bench.send(&Hello::default()).to, "Resting");
    assert_eq!(bench.data::<Runner>().hellos, 2);
}

#[test]
fn behaviours_5_a_row_for_any_state_covers_neither_initial_nor_final() {
    let mut bench = Bench::of::<Runner>();
    assert!(matches!(bench.send(&Hello::default()).verdict, Verdict::Missing(_)));
    bench.send(&Start::default());
    bench.send(&Stop::default());
    assert_eq!(bench.send(&Hello::default()).verdict, Verdict::Ignored);
}

#[test]
fn mt_009_a_row_for_two_states_runs_in_either() {
    let mut bench = Bench::of::<Runner>();
    bench.send(&Start::default());
    assert_eq!(bench.send(&rename_to("a")).to, "Running");
    bench.send(&Hop::default());
    assert_eq!(bench.send(&rename_to("b")).to, "Resting");
    assert_eq!(bench.data::<Runner>().name, "b");
}

#[test]
fn mt_013_an_instance_returns_to_the_state_of_its_name() {
    let mut bench = Bench::of::<Runner>();
    bench.send(&Start::default());
    bench.send(&Hop::default());
    let mut stored = bench.stored().expect("stored");
    bench.reload();
    assert_eq!(bench.live.state(), "Resting");
    assert!(!bench.live.is_changed());

    stored.state = "Sleeping".to_owned();
    let error = bench.definition.open(stored.id, Some(&stored)).err().expect("refused");
    assert!(error.contains("state `Sleeping`"), "{error}");
    stored.state = "Resting".to_owned();
    stored.definition_version = 4;
    let error = bench.definition.open(stored.id, Some(&stored)).err().expect("refused");
    assert!(error.contains("version 4, this is version 3"), "{error}");
}

#[test]
fn the_definition_lists_its_types_in_declared_order() {
    let bench = Bench::of::<Runner>();
    let exchanges: Vec<_> =
        bench.definition.subscriptions().into_iter().map(|s| s.exchange).collect();
    assert_eq!(exchanges, ["Test:Start", "Test:Rename", "Test:Hop", "Test:Stop", "Test:Hello"]);
    assert_eq!(bench.definition.version(), 3);
    assert_eq!(bench.definition.retry().attempts, 3);
}

#[test]
fn several_events_fold_one_after_another_and_a_snapshot_comes_back() {
    let mut bench = Bench::of::<Runner>();
    bench.send(&Start::default());
    let before = bench.live.snapshot();
    bench.send(&rename_to("a"));
    bench.send(&Hop::default());
    assert_eq!(bench.stored().expect("stored").book.applied, 3);
    bench.live = before;
    assert_eq!(bench.live.state(), "Running");
    assert_eq!(bench.stored().expect("stored").book.applied, 1);
}
