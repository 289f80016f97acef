//! Timers: set, replaced, cancelled, fired, and known by their tokens.

use knarr_model::{Effect, RowId};
use knarr_saga::Verdict;
use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::kit::{Bench, start, told};
use crate::messages;

messages!(Start, Submit, Nudge, Twice, Abort);

#[derive(Timer)]
enum Due {
    Short,
    Long,
}

#[derive(Clone, Copy, Debug, States)]
enum Step {
    Active,
    Late,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cart {
    patience: u64,
    seen: Option<RowId>,
}

impl Machine for Cart {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.initially::<Start>().create(open).go_to(Step::Active);
        m.during([Step::Active]).on::<Submit>().then(submit).stay();
        m.during([Step::Active]).on::<Nudge>().then(nudge).stay();
        m.during([Step::Active]).on::<Twice>().then(twice).stay();
        m.during([Step::Active]).on::<Abort>().then(abort).stay();
        m.during([Step::Active]).after(Due::Short).then(again).go_to(Step::Late);
        m.during([Step::Late]).after(Due::Long).finish();
        m.during_any().after("plain").stay();
    }
}

fn open(_: &Start, out: &mut Effects<Cart>) -> Cart {
    let cart = Cart { patience: 1, seen: None };
    out.schedule(Due::Short, seconds(cart.patience));
    out.schedule(Due::Long, days(90));
    cart
}

fn submit(_: &mut Cart, _: &Submit, out: &mut Effects<Cart>) {
    assert!(out.due(Due::Short).is_some());
    assert!(out.unschedule(Due::Short));
    assert!(!out.unschedule(Due::Short), "it is live no more");
}

fn nudge(cart: &mut Cart, _: &Nudge, out: &mut Effects<Cart>) {
    cart.seen = Some(out.schedule(Due::Short, seconds(9)));
}

fn twice(_: &mut Cart, _: &Twice, out: &mut Effects<Cart>) {
    out.schedule(Due::Short, seconds(1));
    out.schedule_at(Due::Short, start());
    out.schedule("plain", seconds(2));
    out.unschedule("plain");
}

fn abort(_: &mut Cart, _: &Abort, out: &mut Effects<Cart>) {
    out.schedule(Due::Short, seconds(1));
    out.unschedule(Due::Short);
}

fn again(cart: &mut Cart, out: &mut Effects<Cart>) {
    cart.seen = Some(out.schedule(Due::Short, seconds(1)));
    out.publish(Nudge::default());
}

fn bench() -> Bench {
    let mut bench = Bench::of::<Cart>();
    bench.send(&Start::default());
    bench.reload();
    bench
}

#[test]
fn mt_079_a_timer_is_due_after_the_delay_that_the_row_chose() {
    let mut bench = Bench::of::<Cart>();
    let decision = bench.send(&Start::default());
    assert_eq!(told(&decision), ["set Short", "set Long"]);
    let Effect::Schedule { due, token, .. } = &decision.effects[0] else { panic!("a timer") };
    assert_eq!(*due, start() + chrono::TimeDelta::seconds(2), "the step's time plus one second");
    assert_eq!(bench.timer("Short"), Some(*token));
}

#[test]
fn mt_081_a_cancelled_timer_is_gone_and_its_firing_is_absorbed() {
    let mut bench = bench();
    let token = bench.timer("Short").expect("live");
    let decision = bench.send(&Submit::default());
    assert_eq!(told(&decision), ["cancel"]);
    let Effect::Unschedule { token: cancelled } = decision.effects[0] else { panic!("cancel") };
    assert_eq!(cancelled, token);
    let late = bench.fire_with("Short", token, 1);
    assert_eq!(late.verdict, Verdict::Absorbed);
    assert_eq!((late.event.as_str(), late.to.as_str()), ("timer Short", "Active"));
}

#[test]
fn mt_082_a_timer_row_that_schedules_again_gets_a_new_token_that_it_can_read() {
    let mut bench = bench();
    let old = bench.timer("Short").expect("live");
    let decision = bench.fire(Due::Short);
    assert_eq!(told(&decision), ["set Short", "publish Nudge"], "the fired one is not replaced");
    let new = bench.timer("Short").expect("live");
    assert_ne!(old, new);
    assert_eq!(bench.data::<Cart>().seen, Some(new));
    assert_eq!(bench.fire_with("Short", old, 1).verdict, Verdict::Absorbed);
}

#[test]
fn scheduling_under_a_live_name_replaces_the_stored_row() {
    let mut bench = bench();
    let old = bench.timer("Short").expect("live");
    let decision = bench.send(&Nudge::default());
    let [Effect::Schedule { token, replaces, .. }] = &decision.effects[..] else {
        panic!("one timer")
    };
    assert_eq!((*replaces, bench.timer("Short")), (Some(old), Some(*token)));
    assert_eq!(bench.fire_with("Short", old, 1).verdict, Verdict::Absorbed);
    assert_eq!(bench.fire(Due::Short).verdict, Verdict::Applied);
}

#[test]
fn what_one_row_sets_and_takes_back_never_reaches_the_store() {
    let mut bench = bench();
    let old = bench.timer("Short").expect("live");
    let decision = bench.send(&Twice::default());
    let [Effect::Schedule { due, replaces, .. }] = &decision.effects[..] else {
        panic!("one timer, not {:?}", told(&decision))
    };
    assert_eq!((*due, *replaces), (start(), Some(old)));

    let stored = bench.timer("Short").expect("live");
    let decision = bench.send(&Abort::default());
    let [Effect::Unschedule { token }] = &decision.effects[..] else { panic!("the stored one") };
    assert_eq!(*token, stored);
}

#[test]
fn mt_085_two_timers_fire_one_after_the_other_in_the_states_then_reached() {
    let mut bench = bench();
    assert_eq!(bench.fire(Due::Short).to, "Late");
    bench.reload();
    let decision = bench.fire(Due::Long);
    assert_eq!(decision.to, "Final");
    assert_eq!(told(&decision), ["cancel", "finish"], "MT-083: the one set again is cancelled");
}

#[test]
fn engine_identity_a_timer_of_another_run_or_without_an_instance_is_absorbed() {
    let mut bench = bench();
    let token = bench.timer("Short").expect("live");
    assert_eq!(bench.fire_with("Short", token, 2).verdict, Verdict::Absorbed);
    assert_eq!(bench.fire_with("Short", RowId(Uuid::nil()), 1).verdict, Verdict::Absorbed);
    let mut none = Bench::of::<Cart>();
    assert_eq!(none.fire_with("Short", token, 1).verdict, Verdict::Absorbed);
}

#[test]
fn behaviours_2_a_timer_without_a_row_is_ignored_and_leaves_the_book() {
    let mut bench = bench();
    let decision = bench.fire(Due::Long);
    assert_eq!(decision.verdict, Verdict::Ignored);
    assert!(bench.timer("Long").is_none());
    assert!(bench.live.is_changed(), "so that the engine writes the book");
}

messages!(Ask);

/// What the next message of its kind asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Patient {
    heard: Vec<String>,
}

#[derive(Clone, Copy, Debug, States)]
enum Wait {
    Waiting,
}

impl Machine for Patient {
    type State = Wait;

    fn define(m: &mut Table<Self>) {
        m.initially::<Start>().create(|_, _| Patient { heard: Vec::new() }).go_to(Wait::Waiting);
        m.during([Wait::Waiting])
            .on::<Submit>()
            .then(|_, _, out| {
                out.schedule("ever", std::time::Duration::MAX);
            })
            .stay();
        m.during([Wait::Waiting])
            .on::<Twice>()
            .then(|_, _, out| {
                out.schedule("late", days(365 * 10_000));
                out.schedule_at("later", chrono::DateTime::<chrono::Utc>::MAX_UTC);
            })
            .stay();
        m.during([Wait::Waiting])
            .on::<Abort>()
            .then(|_, _, out| {
                out.publish(Nudge::default()).time_to_live(std::time::Duration::MAX);
                out.schedule_at("last", knarr_model::durations::LAST_INSTANT);
            })
            .stay();
        // One name for an event, in both ways that it is written, and for timers.
        m.during([Wait::Waiting])
            .on::<Ask>()
            .then(|patient, _, out| {
                patient.heard.push("event".to_owned());
                out.schedule("Ask", seconds(1));
                out.schedule("Test:Ask", seconds(2));
            })
            .stay();
        m.during([Wait::Waiting])
            .after("Ask")
            .then(|patient, _| patient.heard.push("timer Ask".to_owned()))
            .stay();
        m.during([Wait::Waiting])
            .after("Test:Ask")
            .then(|patient, _| patient.heard.push("timer Test:Ask".to_owned()))
            .stay();
    }
}

fn patient() -> Bench {
    let mut bench = Bench::of::<Patient>();
    bench.send(&Start::default());
    bench.reload();
    bench
}

#[test]
fn pe_134_a_delay_that_no_calendar_holds_fails_the_decision_with_a_clear_text() {
    let mut bench = patient();
    let before = bench.stored().map(|stored| (stored.version, stored.book));
    let Verdict::Broken(errors) = bench.send(&Submit::default()).verdict else { panic!("broken") };
    let all = errors.join("; ");
    assert!(all.contains("timer `ever` due in "), "{all}");
    assert!(all.contains("that is after the year 9999") && !all.contains("panic"), "{all}");
    let Verdict::Broken(errors) = bench.send(&Twice::default()).verdict else { panic!("broken") };
    let all = errors.join("; ");
    assert!(all.contains("timer `late` due in 315360000000s"), "{all}");
    assert!(all.contains("timer `later` due at +262142-12-31"), "{all}");
    assert_eq!(bench.stored().map(|stored| (stored.version, stored.book)), before);
    // The last instant is one, and a message may live for ever.
    assert_eq!(bench.send(&Abort::default()).verdict, Verdict::Applied);
    let due = bench.stored().expect("stored").book.timers["last"].due;
    assert_eq!(due.to_rfc3339(), "9999-12-31T23:59:59+00:00");
}

#[test]
fn pe_138_one_name_for_an_event_and_for_timers_runs_each_its_own_row_once() {
    let mut bench = patient();
    let decision = bench.send(&Ask::default());
    assert_eq!(
        (decision.event.as_str(), told(&decision)),
        ("Test:Ask", vec!["set Ask".to_owned(), "set Test:Ask".to_owned()])
    );
    bench.reload();
    let tokens = ["Ask", "Test:Ask"].map(|name| bench.timer(name).expect("live"));
    assert_eq!(bench.fire("Test:Ask").event, "timer Test:Ask");
    assert_eq!(bench.fire("Ask").event, "timer Ask");
    for (name, token) in ["Ask", "Test:Ask"].into_iter().zip(tokens) {
        assert_eq!(bench.fire_with(name, token, 1).verdict, Verdict::Absorbed, "once");
    }
    bench.reload();
    bench.send(&Ask::default());
    assert_eq!(bench.data::<Patient>().heard, ["event", "timer Test:Ask", "timer Ask", "event"]);
}
