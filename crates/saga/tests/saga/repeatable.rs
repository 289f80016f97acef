//! Deciding is repeatable: one snapshot and one event always give the same decision.

use knarr_model::{Failure, RowId};
use knarr_saga::prelude::*;
use knarr_saga::{Decision, Event, Live};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::kit::{Bench, envelope, raw};
use crate::messages;

messages!(Start, Ping, Hop, Stop, Bad, Told);

#[derive(Serialize, Deserialize, Call)]
#[call(output = u32)]
struct Ask {
    id: Uuid,
}

#[derive(Clone, Copy, Debug, States)]
enum Step {
    Near,
    Far,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Walker {
    sum: u32,
    ids: Vec<Uuid>,
}

impl Machine for Walker {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.initially::<Start>().create(start).go_to(Step::Near);
        m.during_any().on::<Ping>().then(ping).stay();
        m.during([Step::Near]).on::<Hop>().then(hop).go_to(Step::Far);
        m.during([Step::Far]).on::<Hop>().branch([To(Step::Near), Fail], back);
        m.during([Step::Near]).on::<Bad>().then(|_, _, _| Err("bad")).stay();
        m.during([Step::Far]).on::<Bad>().defer();
        m.during_any().done::<Ask>().then(|w, n, _| w.sum += n).stay();
        m.during([Step::Far]).failed::<Ask>().stay();
        m.during_any().after("tick").then(tick).stay();
        m.during([Step::Far])
            .all_of([on::<Ping>(), ended::<Ask>()])
            .every_time()
            .then(|w, out| w.ids.push(out.new_id()))
            .stay();
        m.during_any().on::<Stop>().finish();
    }
}

fn start(_: &Start, out: &mut Effects<Walker>) -> Walker {
    out.schedule("tick", seconds(1));
    Walker { sum: 0, ids: vec![out.new_id()] }
}

fn ping(walker: &mut Walker, _: &Ping, out: &mut Effects<Walker>) {
    let id = out.new_id();
    walker.ids.push(id);
    out.run(Ask { id });
    out.publish(Told { correlation_id: id });
}

fn hop(_: &mut Walker, _: &Hop, out: &mut Effects<Walker>) {
    out.cancel::<Ask>();
    out.schedule("tick", minutes(1));
}

fn back(walker: &mut Walker, _: &Hop, _: &mut Effects<Walker>) -> Target<Step> {
    if walker.sum > 6 { fail("too far") } else { To(Step::Near) }
}

fn tick(_: &mut Walker, out: &mut Effects<Walker>) {
    out.schedule("tick", seconds(1));
}

/// One decision as text, with everything that it asks for and everything that it leaves behind.
fn told(live: &dyn Live, decision: &Decision) -> String {
    format!("{decision:?} {:?}", live.save())
}

/// Decides twice from one snapshot, compares, and goes on with the first.
fn twice(bench: &mut Bench, event: &Event<'_>) -> Result<(), TestCaseError> {
    let cause = bench.cause();
    let mut other = bench.live.snapshot();
    let before = format!("{:?}", bench.live.save());
    let first = bench.live.decide(&cause, event);
    let second = other.decide(&cause, event);
    prop_assert_eq!(told(&*bench.live, &first), told(&*other, &second));
    if !bench.live.is_changed() {
        prop_assert_eq!(before, format!("{:?}", bench.live.save()));
    }
    Ok(())
}

fn play(steps: &[u8]) -> Result<(), TestCaseError> {
    let mut bench = Bench::of::<Walker>();
    let failure = Failure::permanent("no", "no");
    for step in steps {
        let cause = bench.cause();
        let call = bench.call::<Ask>().unwrap_or(RowId(Uuid::nil()));
        let tick = bench.timer("tick").unwrap_or(RowId(Uuid::nil()));
        let message = match step % 9 {
            0 => Some(envelope(cause.id, &Start::default())),
            1 => Some(envelope(cause.id, &Ping::default())),
            2 => Some(envelope(cause.id, &Hop::default())),
            3 => Some(envelope(cause.id, &Bad::default())),
            8 if step % 4 == 0 => Some(envelope(cause.id, &Stop::default())),
            _ => None,
        };
        let output = raw(&u32::from(*step % 4));
        let event = match (&message, step % 9) {
            (Some(message), _) => Event::Message(message),
            (None, 4 | 5) => Event::Done { call: "Ask", token: call, run: 1, output: &output },
            (None, 6) => Event::Failed { call: "Ask", token: call, run: 1, failure: &failure },
            (None, _) => Event::Timer { name: "tick", token: tick, run: 1 },
        };
        twice(&mut bench, &event)?;
        bench.reload();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn deciding_an_event_twice_from_one_snapshot_gives_equal_decisions(
        steps in proptest::collection::vec(any::<u8>(), 1..60)
    ) {
        let mut all = vec![0];
        all.extend(steps);
        play(&all)?;
    }
}

#[test]
fn another_cause_gives_other_ids() {
    let ids = |skip: u128| {
        let mut bench = Bench::of::<Walker>();
        for _ in 0..skip {
            bench.cause();
        }
        bench.send(&Start::default());
        let decision = bench.send(&Ping::default());
        (bench.data::<Walker>().ids, format!("{:?}", decision.effects))
    };
    assert_eq!(ids(0), ids(0));
    let ((one, asked_one), (two, asked_two)) = (ids(0), ids(5));
    assert!(one.iter().all(|id| !two.contains(id)));
    assert_ne!(asked_one, asked_two);
}
