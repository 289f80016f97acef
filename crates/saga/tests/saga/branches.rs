//! Rows whose behaviour chooses where they lead.

use knarr_model::Class;
use knarr_saga::Verdict;
use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};

use crate::kit::{Bench, ID, told};
use crate::messages;

messages!(Told);

#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Test")]
struct Choose {
    correlation_id: uuid::Uuid,
    to: String,
}

fn choose(to: &str) -> Choose {
    Choose { correlation_id: ID, to: to.to_owned() }
}

#[derive(Clone, Copy, Debug, PartialEq, States)]
enum Step {
    Left,
    Right,
    Undeclared,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Fork {
    last: String,
}

impl Machine for Fork {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.initially::<Choose>().create(|e, _| Fork { last: e.to.clone() }).branch(
            [Step::Left, Step::Right],
            |_, e, _| match e.to.as_str() {
                "left" => Step::Left,
                _ => Step::Right,
            },
        );
        m.during([Step::Left])
            .on::<Choose>()
            .then(note)
            .branch([To(Step::Right), Finish, Stay, Fail], by_name);
        m.during([Step::Right]).after("never").branch([Step::Left], |_, _| Step::Left);
    }
}

fn note(fork: &mut Fork, e: &Choose, out: &mut Effects<Fork>) {
    fork.last.clone_from(&e.to);
    out.publish(Told::default());
}

fn by_name(_: &mut Fork, e: &Choose, _: &mut Effects<Fork>) -> Result<Target<Step>, String> {
    Ok(match e.to.as_str() {
        "right" => Step::Right.into(),
        "finish" => Finish,
        "stay" => Stay,
        "fail" => Fail,
        "fail with a reason" => fail("the fork is closed"),
        "undeclared" => To(Step::Undeclared),
        other => return Err(format!("there is no way {other}")),
    })
}

fn bench() -> Bench {
    let mut bench = Bench::of::<Fork>();
    bench.send(&choose("left"));
    bench.reload();
    bench
}

#[test]
fn mt_185_mt_190_a_branch_leads_where_its_behaviour_says() {
    let mut bench = Bench::of::<Fork>();
    assert_eq!(bench.send(&choose("elsewhere")).to, "Right");
    for (to, state) in [("right", "Right"), ("finish", "Final"), ("stay", "Left")] {
        let mut bench = bench_at_left();
        let decision = bench.send(&choose(to));
        assert_eq!((decision.verdict, decision.to.as_str()), (Verdict::Applied, state));
        assert_eq!(bench.data::<Fork>().last, to);
    }
}

fn bench_at_left() -> Bench {
    let bench = bench();
    assert_eq!(bench.live.state(), "Left");
    bench
}

#[test]
fn guard_the_target_fail_fails_the_run_and_keeps_nothing_of_the_row() {
    for (to, reason) in
        [("fail", "the row ended in Fail"), ("fail with a reason", "the fork is closed")]
    {
        let mut bench = bench();
        let decision = bench.send(&choose(to));
        let errors = vec![reason.to_owned()];
        assert_eq!(decision.verdict, Verdict::RunFailed { class: Class::Failed, errors });
        assert_eq!((decision.to.as_str(), told(&decision).len()), ("Left", 0));
        assert_eq!(bench.data::<Fork>().last, "left");
        assert!(!bench.live.is_changed());
    }
}

#[test]
fn a_target_that_is_not_declared_is_broken_and_says_what_is() {
    let mut bench = bench();
    let decision = bench.send(&choose("undeclared"));
    let expected = "the branch chose Undeclared, but declares only [Right, Finish, Stay, Fail]";
    assert_eq!(decision.verdict, Verdict::Broken(vec![expected.to_owned()]));
    assert_eq!(bench.live.state(), "Left");
}

#[test]
fn an_error_in_a_branch_is_broken() {
    let mut bench = bench();
    let decision = bench.send(&choose("nowhere"));
    assert_eq!(decision.verdict, Verdict::Broken(vec!["there is no way nowhere".to_owned()]));
}
