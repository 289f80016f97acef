//! Joins: rows that wait for several things (behaviours 7).

use knarr_saga::Verdict;
use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};

use crate::kit::{Bench, told};
use crate::messages;

messages!(Start, First, Second, Move, Joined);

#[derive(Clone, Copy, Debug, PartialEq, States)]
enum Step {
    Waiting,
    Later,
    Done,
}

/// Notes which rows ran, in order; `allowed` is what the filtered join asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Log {
    ran: Vec<String>,
    allowed: bool,
}

impl Log {
    fn note(&mut self, what: &str) {
        self.ran.push(what.to_owned());
    }
}

fn ran(bench: &Bench) -> Vec<String> {
    bench.data::<Log>().ran
}

macro_rules! machine {
    ($name:ident, |$m:ident| $define:block) => {
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(transparent)]
        struct $name(Log);
        impl Machine for $name {
            type State = Step;
            fn define($m: &mut Table<Self>) $define
        }
    };
}

machine!(Pair, |m| {
    m.initially::<Start>().create(|_, _| Pair::default()).go_to(Step::Waiting);
    m.during([Step::Waiting]).on::<First>().then(|l, _, _| l.0.note("first")).stay();
    m.during([Step::Waiting]).on::<Second>().then(|l, _, _| l.0.note("second")).stay();
    m.during([Step::Waiting]).all_of([on::<First>(), on::<Second>()]).then(pair).stay();
});

fn pair(pair: &mut Pair, out: &mut Effects<Pair>) {
    pair.0.note("both");
    out.publish(Joined::default());
}

#[test]
fn mt_065_mt_067_the_join_runs_once_after_the_row_that_completes_it() {
    for turned in [false, true] {
        let mut bench = Bench::of::<Pair>();
        bench.send(&Start::default());
        bench.reload();
        let decisions = if turned {
            [bench.send(&Second::default()), bench.send(&First::default())]
        } else {
            [bench.send(&First::default()), bench.send(&Second::default())]
        };
        assert!(decisions[0].effects.is_empty());
        assert_eq!(told(&decisions[1]), ["publish Joined"]);
        let last = if turned { ["second", "first", "both"] } else { ["first", "second", "both"] };
        assert_eq!(ran(&bench), last);
    }
}

#[test]
fn mt_066_one_source_alone_completes_nothing() {
    let mut bench = Bench::of::<Pair>();
    bench.send(&Start::default());
    bench.send(&First::default());
    bench.reload();
    bench.send(&First::default());
    assert_eq!(ran(&bench), ["first", "first"]);
}

#[test]
fn mt_071_a_source_that_comes_again_does_not_fire_the_join_again() {
    let mut bench = Bench::of::<Pair>();
    bench.send(&Start::default());
    for _ in 0..2 {
        bench.send(&First::default());
        bench.send(&Second::default());
        bench.reload();
    }
    assert_eq!(ran(&bench), ["first", "second", "both", "first", "second"]);
}

machine!(Again, |m| {
    m.initially::<Start>().create(|_, _| Again::default()).go_to(Step::Waiting);
    m.during([Step::Waiting])
        .all_of([on::<First>(), on::<Second>()])
        .every_time()
        .then(|l, _| l.0.note("both"))
        .stay();
});

#[test]
fn mt_071_a_join_for_every_time_starts_anew() {
    let mut bench = Bench::of::<Again>();
    bench.send(&Start::default());
    for n in 1..=3 {
        bench.send(&First::default());
        bench.send(&Second::default());
        assert_eq!(ran(&bench).len(), n);
    }
}

machine!(Moving, |m| {
    m.initially::<Start>().create(|_, _| Moving::default()).go_to(Step::Waiting);
    m.during([Step::Later])
        .all_of([on::<First>(), on::<Second>()])
        .then(|l, _| l.0.note("both"))
        .go_to(Step::Done);
    m.during([Step::Waiting]).on::<First>().go_to(Step::Later);
    m.during([Step::Waiting]).on::<Second>().stay();
    m.during([Step::Later]).on::<Second>().stay();
    m.during([Step::Done]).on::<Move>().finish();
});

#[test]
fn mt_070_sources_count_in_whatever_state_they_are_handled() {
    let mut bench = Bench::of::<Moving>();
    bench.send(&Start::default());
    assert_eq!(bench.send(&First::default()).to, "Later");
    assert_eq!(bench.send(&Second::default()).to, "Done");

    // Complete in a state without the join's row: it fires as soon as such a state is reached.
    let mut bench = Bench::of::<Moving>();
    bench.send(&Start::default());
    assert_eq!(bench.send(&Second::default()).to, "Waiting");
    let decision = bench.send(&First::default());
    assert_eq!((decision.from.as_str(), decision.to.as_str()), ("Waiting", "Done"));
    assert_eq!(ran(&bench), ["both"]);
}

machine!(Elsewhere, |m| {
    m.initially::<Start>().create(|_, _| Elsewhere::default()).go_to(Step::Waiting);
    m.during([Step::Waiting]).on::<First>().stay();
    m.during([Step::Waiting]).on::<Second>().stay();
    m.during([Step::Waiting]).on::<Move>().go_to(Step::Later);
    m.during([Step::Later]).all_of([on::<First>(), on::<Second>()]).finish();
});

#[test]
fn behaviours_7_a_complete_join_waits_for_the_first_step_into_one_of_its_states() {
    let mut bench = Bench::of::<Elsewhere>();
    bench.send(&Start::default());
    bench.send(&First::default());
    assert_eq!(bench.send(&Second::default()).to, "Waiting");
    bench.reload();
    assert_eq!(bench.send(&Move::default()).to, "Final");
}

machine!(Filtered, |m| {
    m.initially::<Start>().create(|_, _| Filtered::default()).go_to(Step::Waiting);
    m.during([Step::Waiting]).on::<First>().stay();
    m.during([Step::Waiting]).on::<Second>().then(|l, _, _| l.0.allowed = true).stay();
    m.during([Step::Waiting]).on::<Move>().then(|l, _, _| l.0.allowed = true).stay();
    m.during([Step::Waiting])
        .all_of([on::<First>(), done::<Ask>()])
        .when(|l| l.0.allowed)
        .then(|l, _| l.0.note("both"))
        .stay();
    m.initially::<Joined>().create(asking).go_to(Step::Waiting);
});

#[derive(Serialize, Deserialize, Call)]
#[call(output = u8)]
struct Ask;

#[derive(Serialize, Deserialize, Call)]
#[call(output = u8)]
struct Other;

fn asking(_: &Joined, out: &mut Effects<Filtered>) -> Filtered {
    out.run(Ask);
    Filtered::default()
}

#[test]
fn mt_069_a_filtered_join_is_asked_again_at_the_next_contribution_only() {
    let mut bench = Bench::of::<Filtered>();
    bench.send(&Joined::default());
    bench.send(&First::default());
    assert_eq!(bench.done::<Ask>(&1).verdict, Verdict::Applied);
    assert!(ran(&bench).is_empty(), "the filter says no");
    bench.send(&Move::default());
    assert!(ran(&bench).is_empty(), "no source of the join came");
    bench.send(&First::default());
    assert_eq!(ran(&bench), ["both"]);
    bench.send(&First::default());
    assert_eq!(ran(&bench), ["both"]);
}

machine!(Four, |m| {
    m.initially::<Start>().create(ask_both).go_to(Step::Waiting);
    let row = |m: &mut Table<Four>, facts: [knarr_saga::Fact; 2], name: &'static str| {
        m.during([Step::Waiting]).all_of(facts).then(move |l, _| l.0.note(name)).finish();
    };
    row(m, [done::<Ask>(), done::<Other>()], "ok ok");
    row(m, [failed::<Ask>(), failed::<Other>()], "fault fault");
    row(m, [failed::<Ask>(), done::<Other>()], "fault ok");
    row(m, [done::<Ask>(), failed::<Other>()], "ok fault");
});

fn ask_both(_: &Start, out: &mut Effects<Four>) -> Four {
    out.run(Ask);
    out.run(Other);
    Four::default()
}

#[test]
fn mt_073_of_four_joins_exactly_the_matching_one_fires() {
    let failure = Failure::permanent("no", "no");
    for (ask, other, expected) in [
        (true, true, "ok ok"),
        (false, false, "fault fault"),
        (false, true, "fault ok"),
        (true, false, "ok fault"),
    ] {
        let mut bench = Bench::of::<Four>();
        bench.send(&Start::default());
        let first = if ask { bench.done::<Ask>(&1) } else { bench.failed::<Ask>(&failure) };
        assert_eq!(first.verdict, Verdict::Applied, "a source without a row is handled");
        bench.reload();
        if other {
            bench.done::<Other>(&1)
        } else {
            bench.failed::<Other>(&failure)
        };
        assert_eq!(bench.live.state(), "Final");
        assert_eq!(ran(&bench), [expected]);
    }
}

messages!(RunningA, RunningB, CompletingA, CompletingB);

machine!(Sequence, |m| {
    m.initially::<Start>().create(|_, _| Sequence::default()).go_to(Step::Waiting);
    m.during([Step::Waiting])
        .all_of([on::<RunningA>(), on::<RunningB>()])
        .then(|l, _| l.0.note("running"))
        .go_to(Step::Later);
    m.during([Step::Later])
        .all_of([on::<CompletingA>(), on::<CompletingB>()])
        .then(|l, _| l.0.note("complete"))
        .finish();
});

#[test]
fn mt_075_two_joins_in_sequence_fire_once_each_in_every_order_of_their_sources() {
    for order in 0..24_usize {
        let mut bench = Bench::of::<Sequence>();
        bench.send(&Start::default());
        let (mut left, mut rest) = (vec![0, 1, 2, 3], order);
        for size in (1..=4).rev() {
            let next = left.remove(rest % size);
            rest /= size;
            let decision = match next {
                0 => bench.send(&RunningA::default()),
                1 => bench.send(&RunningB::default()),
                2 => bench.send(&CompletingA::default()),
                _ => bench.send(&CompletingB::default()),
            };
            assert_eq!(decision.verdict, Verdict::Applied);
            bench.reload();
        }
        assert_eq!(ran(&bench), ["running", "complete"], "order {order}");
        assert_eq!(bench.live.state(), "Final");
    }
}

machine!(Opening, |m| {
    m.initially::<First>().create(|_, _| Opening::default()).go_to(Step::Waiting);
    m.initially::<Second>().create(|_, _| Opening::default()).go_to(Step::Waiting);
    m.during([Step::Waiting]).on::<First>().ignore();
    m.during_any().all_of([on::<First>(), on::<Second>()]).finish();
});

#[test]
fn behaviours_7_either_source_may_start_the_instance_and_an_ignored_one_counts() {
    for turned in [false, true] {
        let mut bench = Bench::of::<Opening>();
        if turned {
            bench.send(&Second::default())
        } else {
            bench.send(&First::default())
        };
        bench.reload();
        let again =
            if turned { bench.send(&Second::default()) } else { bench.send(&First::default()) }
                .verdict;
        assert_eq!(again, Verdict::Ignored, "the same source again adds nothing");
        let last =
            if turned { bench.send(&First::default()) } else { bench.send(&Second::default()) };
        assert_eq!((last.verdict, last.to.as_str()), (Verdict::Applied, "Final"));
    }
}

machine!(Twice, |m| {
    m.initially::<Start>().create(ask_twice).go_to(Step::Waiting);
    m.during([Step::Waiting]).all_of([ended::<Ask>(), on::<First>()]).finish();
});

fn ask_twice(_: &Start, out: &mut Effects<Twice>) -> Twice {
    out.run(Ask);
    out.run(Ask);
    Twice::default()
}

#[test]
fn a_failure_that_adds_nothing_to_a_join_and_has_no_row_still_fails_the_run() {
    let failure = Failure::permanent("down", "it is down");
    let mut bench = Bench::of::<Twice>();
    bench.send(&Start::default());
    assert_eq!(bench.failed::<Ask>(&failure).verdict, Verdict::Applied);
    assert!(matches!(bench.failed::<Ask>(&failure).verdict, Verdict::RunFailed { .. }));
    assert_eq!(bench.done::<Ask>(&1).verdict, Verdict::Ignored);
}
