//! Steps that go wrong: nothing of them is kept, and the reason reads well.

use std::fmt;

use knarr_model::{Class, Envelope, MessageId};
use knarr_saga::prelude::*;
use knarr_saga::{BadMessage, Event, Verdict};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::kit::{Bench, ID, envelope, raw, told};
use crate::messages;

messages!(Start, Oops, Panic, Unknown, Joined, ReplyLater);

#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Test")]
struct Nested {
    correlation_id: Uuid,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    price: u32,
}

#[derive(Clone, Debug, Deserialize, Message)]
#[message(namespace = "Test")]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("it has no form"))
    }
}

#[derive(Serialize, Deserialize, Call)]
#[call(output = u8)]
struct Ask;

#[derive(Serialize, Deserialize, Call)]
#[call(output = u8)]
struct NotNamed;

#[derive(Clone, Copy, Debug, States)]
enum Step {
    Running,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fragile {
    n: u8,
}

impl Machine for Fragile {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.initially::<Start>().create(start).go_to(Step::Running);
        m.initially::<Nested>().create(refuse).go_to(Step::Running);
        m.during([Step::Running]).on::<Oops>().then(oops).finish();
        m.during([Step::Running]).on::<Panic>().then(panics).stay();
        m.during([Step::Running]).on::<Nested>().then(write_nothing).stay();
        m.during([Step::Running]).on::<Unknown>().then(unknown).stay();
        m.during([Step::Running]).done::<Ask>().then(respond).stay();
        m.during([Step::Running]).after("wrong").then(|_, _| Err("no".to_owned())).stay();
    }
}

#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the total cannot be read")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

fn start(_: &Start, out: &mut Effects<Fragile>) -> Fragile {
    out.run(Ask);
    out.schedule("wrong", seconds(1));
    Fragile { n: 1 }
}

fn refuse(e: &Nested, _: &mut Effects<Fragile>) -> Result<Fragile, String> {
    Err(format!("{} lines are not allowed", e.lines.len()))
}

fn oops(fragile: &mut Fragile, _: &Oops, out: &mut Effects<Fragile>) -> Result<(), Outer> {
    fragile.n = 99;
    out.publish(Joined::default());
    "many".parse::<u8>().map_err(Outer)?;
    Ok(())
}

fn panics(fragile: &mut Fragile, _: &Panic, out: &mut Effects<Fragile>) {
    fragile.n = 98;
    out.publish(Joined::default());
    let nobody = out.due("nothing");
    nobody.expect("somebody is here");
}

fn write_nothing(_: &mut Fragile, _: &Nested, out: &mut Effects<Fragile>) {
    out.publish(Unwritable);
}

fn unknown(_: &mut Fragile, _: &Unknown, out: &mut Effects<Fragile>) {
    out.run(NotNamed);
}

fn respond(_: &mut Fragile, _: &u8, out: &mut Effects<Fragile>) {
    out.respond(ReplyLater::default());
}

fn bench() -> Bench {
    let mut bench = Bench::of::<Fragile>();
    bench.send(&Start::default());
    bench.reload();
    bench
}

/// The verdict is `Broken`, nothing is kept, and this is the chain of errors.
fn broken(bench: &Bench, decision: &knarr_saga::Decision) -> Vec<String> {
    let Verdict::Broken(errors) = &decision.verdict else { panic!("{:?}", decision.verdict) };
    assert!(told(decision).is_empty() && decision.from == decision.to);
    assert!(!bench.live.is_changed());
    assert_eq!(bench.data::<Fragile>().n, 1);
    errors.clone()
}

#[test]
fn mt_089_mt_090_an_error_undoes_the_row_and_tells_its_whole_chain() {
    let mut bench = bench();
    let decision = bench.send(&Oops::default());
    let errors = broken(&bench, &decision);
    assert_eq!(errors, ["the total cannot be read", "invalid digit found in string"]);
    assert_eq!(bench.stored().expect("stored").book.applied, 1);
}

#[test]
fn a_panic_is_caught_and_undoes_the_row() {
    let mut bench = bench();
    let decision = bench.send(&Panic::default());
    assert_eq!(broken(&bench, &decision), ["a behaviour panicked: somebody is here"]);
}

#[test]
fn a_start_behaviour_that_refuses_makes_no_instance() {
    let mut bench = Bench::of::<Fragile>();
    let nested = Nested { correlation_id: ID, lines: vec![Line { price: 1 }] };
    let expected = vec!["1 lines are not allowed".to_owned()];
    assert_eq!(bench.send(&nested).verdict, Verdict::Broken(expected));
    assert!(bench.stored().is_none());
}

#[test]
fn what_cannot_be_written_or_answered_breaks_the_step() {
    let mut bench = bench();
    let nested = Nested { correlation_id: ID, lines: Vec::new() };
    let decision = bench.send(&nested);
    let expected = "Test:Unwritable cannot be written as JSON: it has no form";
    assert_eq!(broken(&bench, &decision), [expected]);

    let decision = bench.done::<Ask>(&1);
    let expected = "respond(Test:ReplyLater): this step was not caused by a message";
    assert_eq!(broken(&bench, &decision), [expected]);

    let decision = bench.fire("wrong");
    assert_eq!(broken(&bench, &decision), ["no"]);
}

#[test]
fn a_call_that_the_table_does_not_name_cannot_be_asked_for() {
    let mut bench = bench();
    let decision = bench.send(&Unknown::default());
    let errors = broken(&bench, &decision);
    assert!(
        errors[0].starts_with("call NotNamed was asked for, but no row names it"),
        "{errors:?}"
    );
    assert!(errors[0].ends_with("or m.asks::<NotNamed>()"), "{errors:?}");
}

#[test]
fn guard_a_failed_call_without_a_row_fails_the_run() {
    let mut bench = bench();
    let decision = bench.failed::<Ask>(&Failure::permanent("wrong-key", "the key is not valid"));
    let Verdict::RunFailed { class: Class::Activity, errors } = &decision.verdict else {
        panic!("{:?}", decision.verdict)
    };
    assert_eq!(decision.event, "failed Ask");
    assert_eq!(
        *errors,
        ["call Ask failed and no row takes that in Running", "wrong-key: the key is not valid"]
    );
    assert!(bench.call::<Ask>().is_some() && !bench.live.is_changed());
}

#[test]
fn a_bad_payload_names_the_member_and_the_reason() {
    let bench = Bench::of::<Fragile>();
    let reason = |json: &str| {
        let mut envelope = envelope(MessageId(ID), &Start::default());
        envelope.message_types = vec!["urn:message:Test:Nested".to_owned()];
        envelope.message = RawValue::from_string(json.to_owned()).expect("JSON").into();
        match bench.definition.correlate(&envelope) {
            Err(BadMessage::Payload { event, reason }) => {
                assert_eq!(event, "Test:Nested");
                reason
            }
            other => panic!("{other:?}"),
        }
    };
    let id = ID.to_string();
    let text = reason(&format!(
        r#"{{"correlation_id":"{id}","lines":[{{"price":1}},{{"price":"two"}}]}}"#
    ));
    assert!(text.starts_with("member `lines[1].price`: invalid type: string \"two\""), "{text}");
    let text = reason(&format!(r#"{{"correlation_id":"{id}"}}"#));
    assert!(text.starts_with("missing field `lines`"), "{text}");
    let text = reason(r#"{"correlation_id":"00000000-0000-0000-0000-000000000000","lines":[]}"#);
    assert!(
        text.ends_with(": its correlation_id (or event_id, command_id) is absent or zero"),
        "{text}"
    );
    assert!(reason("null").contains("null"));
}

#[test]
fn an_answer_that_does_not_fit_is_broken_and_an_unknown_type_is_bad() {
    let mut bench = bench();
    let token = bench.call::<Ask>().expect("open");
    let output = raw(&"text");
    let cause = bench.cause();
    let event = Event::Done { call: "Ask", token, run: 1, output: &output };
    let decision = bench.live.decide(&cause, &event);
    assert_eq!(broken(&bench, &decision)[0], "the answer to call Ask does not fit");

    let stray = Envelope::new(MessageId(ID), "urn:message:Else:Where".to_owned(), raw(&()));
    let expected = BadMessage::UnknownType(stray.message_types.clone());
    assert_eq!(bench.definition.correlate(&stray), Err(expected.clone()));
    let decision = bench.live.decide(&cause, &Event::Message(&stray));
    assert_eq!(decision.verdict, Verdict::Bad(expected));
    assert_eq!(decision.event, "urn:message:Else:Where");
}
