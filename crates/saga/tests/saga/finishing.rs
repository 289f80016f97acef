//! What ends with a run, and what a next run begins with.

use knarr_model::Effect;
use knarr_saga::Verdict;
use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};

use crate::kit::{Bench, told};
use crate::messages;

messages!(Start, Stop, Last, AtOnce, Goodbye, Withdraw);

#[derive(Serialize, Deserialize, Call)]
#[call(output = Answer, name = "ask-it")]
struct Ask {
    what: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answer {
    text: String,
}

fn answer(text: &str) -> Answer {
    Answer { text: text.to_owned() }
}

#[derive(Clone, Copy, Debug, States)]
enum Step {
    Running,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Asker {
    answers: Vec<String>,
}

impl Machine for Asker {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.initially::<Start>().create(start).go_to(Step::Running);
        m.initially::<AtOnce>().create(|_, out| goodbye(out)).finish();
        m.during([Step::Running]).done::<Ask>().then(note).stay();
        m.during([Step::Running]).on::<Stop>().finish();
        m.during([Step::Running]).on::<Last>().then(ask_last).finish();
        m.during([Step::Running]).on::<Withdraw>().then(withdraw).stay();
    }
}

fn ask(what: &str) -> Ask {
    Ask { what: what.to_owned() }
}

fn goodbye(out: &mut Effects<Asker>) -> Asker {
    out.publish(Goodbye::default());
    Asker { answers: Vec::new() }
}

fn start(_: &Start, out: &mut Effects<Asker>) -> Asker {
    out.run(ask("one")).deadline(seconds(3));
    out.run(ask("two")).retry(RetryPolicy::none());
    out.schedule("deadline", minutes(1));
    Asker { answers: Vec::new() }
}

fn note(asker: &mut Asker, answer: &Answer, _: &mut Effects<Asker>) {
    asker.answers.push(answer.text.clone());
}

fn ask_last(_: &mut Asker, _: &Last, out: &mut Effects<Asker>) {
    out.run(ask("too late"));
    out.schedule("other", minutes(1));
    out.schedule("deadline", minutes(2));
    out.publish(Goodbye::default());
}

fn withdraw(_: &mut Asker, _: &Withdraw, out: &mut Effects<Asker>) {
    let token = out.run(ask("three")).token();
    assert_eq!(out.open_calls::<Ask>(), 3);
    assert!(out.cancel_one(token), "asked and taken back in one row");
    assert_eq!(out.cancel::<Ask>(), 2);
}

fn bench() -> Bench {
    let mut bench = Bench::of::<Asker>();
    bench.send(&Start::default());
    bench.reload();
    bench
}

#[test]
fn calls_carry_their_data_their_options_and_tokens_the_book_knows() {
    let mut bench = Bench::of::<Asker>();
    let decision = bench.send(&Start::default());
    assert_eq!(told(&decision), ["call ask-it", "call ask-it", "set deadline"]);
    let (Effect::Call(one), Effect::Call(two)) = (&decision.effects[0], &decision.effects[1])
    else {
        panic!("two calls")
    };
    assert_eq!(one.payload.get(), r#"{"what":"one"}"#);
    assert_eq!((one.deadline, two.retry.clone()), (Some(seconds(3)), Some(RetryPolicy::none())));
    let tokens: Vec<_> =
        bench.stored().expect("stored").book.calls.iter().map(|c| c.token).collect();
    assert_eq!(tokens, [one.token, two.token]);
    assert_ne!(one.token, two.token);
    assert_eq!(bench.definition.calls(), ["ask-it"]);
}

#[test]
fn an_answer_is_taken_once_and_a_second_one_is_absorbed() {
    let mut bench = bench();
    let token = bench.call::<Ask>().expect("open");
    let first = bench.done_with::<Ask>(token, &answer("yes"));
    assert_eq!((first.verdict, first.event.as_str()), (Verdict::Applied, "done ask-it"));
    bench.reload();
    assert_eq!(bench.done_with::<Ask>(token, &answer("no")).verdict, Verdict::Absorbed);
    assert_eq!(bench.data::<Asker>().answers, ["yes"]);
}

#[test]
fn behaviours_6_finish_ends_every_timer_and_every_open_call() {
    let mut bench = bench();
    let token = bench.call::<Ask>().expect("open");
    let decision = bench.send(&Stop::default());
    assert_eq!(told(&decision), ["cancel", "withdraw", "withdraw", "finish"]);
    let book = bench.stored().expect("stored").book;
    assert!(book.timers.is_empty() && book.calls.is_empty());
    let late = bench.done_with::<Ask>(token, &answer("late"));
    assert_eq!(late.verdict, Verdict::Absorbed);
}

#[test]
fn mt_087_what_the_finishing_row_itself_sets_is_dropped_with_a_warning() {
    let mut bench = bench();
    let decision = bench.send(&Last::default());
    assert_eq!(told(&decision), ["publish Goodbye", "cancel", "withdraw", "withdraw", "finish"]);
    let mut warnings = decision.warnings.clone();
    warnings.sort();
    assert_eq!(
        warnings,
        [
            "call `ask-it` was made in the row that finishes",
            "timer `deadline` was set in the row that finishes",
            "timer `other` was set in the row that finishes",
        ]
    );
}

#[test]
fn mt_207_a_start_row_may_finish_at_once_and_its_messages_leave() {
    let mut bench = Bench::of::<Asker>();
    let decision = bench.send(&AtOnce::default());
    assert_eq!(told(&decision), ["publish Goodbye", "finish"]);
    assert_eq!((decision.from.as_str(), decision.to.as_str()), ("Initial", "Final"));
    assert_eq!(bench.data::<Asker>(), Asker { answers: Vec::new() });
}

#[test]
fn a_row_withdraws_open_calls_and_forgets_its_own() {
    let mut bench = bench();
    assert_eq!(told(&bench.send(&Withdraw::default())), ["withdraw", "withdraw"]);
    assert!(bench.call::<Ask>().is_none());
}

#[test]
fn mt_211_a_finished_instance_starts_again_only_when_it_is_reopened() {
    let mut bench = bench();
    let first = bench.call::<Ask>();
    bench.send(&Stop::default());
    let mut over = bench.stored().expect("stored");
    over.version = 7;
    over.book.keys.push(("order".to_owned(), "A-1".to_owned()));
    bench.live = bench.definition.reopen(&over);
    assert_eq!((bench.live.state(), bench.stored().is_none()), ("Initial", true));
    assert_eq!(bench.send(&Start::default()).verdict, Verdict::Applied);
    let stored = bench.stored().expect("stored");
    assert_eq!((stored.run, stored.version), (2, 7));
    assert_eq!((stored.book.applied, stored.book.keys.len()), (3, 0), "numbering goes on");
    assert_ne!(bench.call::<Ask>(), first);
}
