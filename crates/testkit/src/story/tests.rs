//! Stories that hold, and stories that fail with the row that fired and the reason why.

use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, Utc};
use knarr_saga::definition;
use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Class, Story};
use crate::clock::beginning;

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Tale")]
struct Begin {
    correlation_id: Uuid,
    how: String,
}

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Tale")]
struct Said {
    what: String,
    at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Tale")]
struct Stop {
    correlation_id: Uuid,
}

#[derive(Serialize, Deserialize, Call)]
#[call(output = u32)]
struct Count {
    from: u32,
}

#[derive(Serialize, Deserialize, Call)]
#[call(output = u32)]
struct Weigh;

#[derive(Timer)]
struct Bell;

#[derive(Clone, Copy, States)]
enum At {
    Work,
    Rest,
}

#[derive(Clone, Serialize, Deserialize)]
struct Tale {
    sum: u32,
}

impl Machine for Tale {
    type State = At;

    fn define(m: &mut Table<Self>) {
        m.initially::<Begin>().create(begin).go_to(At::Work);
        m.during([At::Work]).done::<Count>().then(add).stay();
        m.during([At::Work]).failed::<Count>().then(say_no).stay();
        m.during([At::Work]).done::<Weigh>().then(add).stay();
        m.during([At::Work])
            .all_of([ended::<Count>(), done::<Weigh>()])
            .then(whole)
            .go_to(At::Rest);
        m.during([At::Rest]).after(Bell).then(ring).finish();
        m.during([At::Work]).after(Bell).then(careless).finish();
        m.during_any().on::<Stop>().finish();
    }
}

/// Is read by a behaviour, which is exactly what none may do.
static OUTSIDE: AtomicU32 = AtomicU32::new(0);

fn begin(e: &Begin, out: &mut Effects<Tale>) -> Result<Tale, String> {
    if e.how == "broken" {
        return Err("it cannot begin".to_owned());
    }
    let sum = if e.how == "impure" { OUTSIDE.fetch_add(1, Ordering::SeqCst) } else { 0 };
    out.run(Count { from: 1 });
    out.run(Weigh);
    out.schedule(Bell, minutes(5));
    Ok(Tale { sum })
}

fn say(out: &mut Effects<Tale>, what: impl Into<String>) {
    let at = out.now();
    out.publish(Said { what: what.into(), at });
}

fn add(tale: &mut Tale, more: &u32, _: &mut Effects<Tale>) {
    tale.sum += more;
}

fn say_no(_: &mut Tale, why: &Failure, out: &mut Effects<Tale>) {
    say(out, why.class.clone());
}

fn whole(tale: &mut Tale, out: &mut Effects<Tale>) {
    say(out, format!("sum {}", tale.sum));
}

fn ring(_: &mut Tale, out: &mut Effects<Tale>) {
    say(out, "ring");
}

fn careless(_: &mut Tale, out: &mut Effects<Tale>) {
    out.schedule(Bell, minutes(1));
}

fn tale() -> Story {
    Story::of(definition::<Tale>())
}

fn start(how: &str) -> Begin {
    Begin { correlation_id: Uuid::from_u128(9), how: how.to_owned() }
}

fn why(story: Story) -> String {
    story.try_run().expect_err("the story must not hold")
}

#[test]
fn a_story_that_holds_shows_each_step_and_the_row_that_took_it() {
    let told = tale()
        .given(start("well"))
        .then_asked::<Count>(|count| count.from == 1)
        .then_state(At::Work)
        .answer::<Count>(Ok(3))
        .answer::<Weigh>(Ok(4))
        .then_state(At::Rest)
        .then_published::<Said>(|said| said.what == "sum 7")
        .advance(minutes(6))
        .then_published::<Said>(|said| {
            let bell = said.at - beginning();
            said.what == "ring" && (300..302).contains(&bell.num_seconds())
        })
        .then_finished()
        .then_nothing_more_published()
        .run();
    let lines = told.lines.join("\n");
    for shown in [
        " 1 given Tale:Begin",
        "Tale:Begin: Initial -> Work",
        "row 1: initially, Tale:Begin, then begin, to Work",
        "asks Count, asks Weigh, sets Bell",
        "row 4: during Work, done Weigh, then add, stays",
        "row 5: during Work, all of (ended Count, done Weigh), then whole, to Rest",
        "timer Bell: Rest -> Final",
        "sends Tale:Said, finishes",
    ] {
        assert!(lines.contains(shown), "{shown} is missing in\n{lines}");
    }
}

#[test]
fn a_story_that_fails_names_its_step_its_line_and_the_rows_that_fired() {
    let text = why(tale()
        .given(start("well"))
        .answer::<Count>(Ok(3))
        .answer::<Weigh>(Ok(4))
        .then_published::<Said>(|said| said.what == "sum 8"));
    for shown in [
        "the story of tale fails at step 4 (",
        "story/tests.rs:",
        "then published Tale:Said",
        "none of these fits:",
        "\"what\":\"sum 7\"",
        "row 5: during Work, all of (ended Count, done Weigh), then whole, to Rest",
    ] {
        assert!(text.contains(shown), "{shown} is missing in\n{text}");
    }
}

#[test]
fn every_kind_of_step_can_fail() {
    let begun = || tale().given(start("well"));
    for (story, expected) in [
        (begun().then_state(At::Rest), "the instance is in state Work"),
        (begun().then_finished(), "the instance is in state Work"),
        (begun().then_no_instance(), "there is one, in state Work"),
        (tale().then_state(At::Work), "there is no instance"),
        (begun().then_published::<Said>(|_| true), "none was; published so far: []"),
        (begun().then_asked::<Count>(|count| count.from == 2), "none of these fits"),
        (begun().then_not_asked::<Weigh>(), "Weigh is running"),
        (
            begun().answer::<Count>(Ok(1)).answer::<Count>(Ok(1)),
            "Count is not running; calls that are running: [Weigh]",
        ),
        (begun().then_set_aside(Class::Unhandled), "nothing more was set aside"),
        (
            begun()
                .answer::<Count>(Err(Failure::permanent("no", "no")))
                .then_nothing_more_published(),
            "Tale:Said was: ",
        ),
        (tale().given_again(), "no message was given before"),
    ] {
        let text = why(story);
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
}

#[test]
fn a_published_message_is_spoken_of_once() {
    let text = why(tale()
        .given(start("well"))
        .answer::<Count>(Err(Failure::permanent("no", "no")))
        .then_published::<Said>(|said| said.what == "no")
        .then_published::<Said>(|said| said.what == "no"));
    assert!(text.contains("at step 4"), "{text}");
}

#[test]
fn what_a_story_does_not_say_is_checked_all_the_same() {
    let impure = why(tale().given(start("impure")));
    assert!(impure.contains("deciding Tale:Begin twice gave two answers"), "{impure}");
    let careless = why(tale().given(start("well")).advance(minutes(5)));
    assert!(careless.contains("`Bell` was set in the row that finishes"), "{careless}");
    let unseen = why(tale().given(start("broken")).advance(minutes(5)));
    assert!(unseen.contains("fails at its end") && unseen.contains("set aside unseen"), "{unseen}");
    assert!(unseen.contains("broken: it cannot begin"), "{unseen}");
    tale().given(start("broken")).advance(minutes(5)).then_set_aside(Class::Exhausted).run();
}

#[test]
fn a_duplicate_is_decided_once_and_a_cancelled_call_waits_no_more() {
    tale()
        .given(start("well"))
        .given_again()
        .answer::<Count>(Ok(1))
        .answer::<Weigh>(Ok(1))
        .then_published::<Said>(|said| said.what == "sum 2")
        .then_nothing_more_published()
        .run();
    tale()
        .given(start("well"))
        .given(Stop { correlation_id: Uuid::from_u128(9) })
        .then_finished()
        .then_not_asked::<Count>()
        .then_not_asked::<Weigh>()
        .run();
}

#[test]
fn an_answer_of_not_yet_comes_back_after_its_time() {
    let later = || Failure::again(seconds(30), serde_json::json!({ "step": 2 }));
    let begun = || tale().given(start("well")).answer::<Count>(Err(later()));
    begun().then_not_asked::<Count>().advance(seconds(31)).answer::<Count>(Ok(1)).run();
    assert!(why(begun().advance(seconds(29)).answer::<Count>(Ok(1))).contains("is not running"));
}

#[derive(Clone, Serialize, Deserialize)]
struct Lost;

impl Machine for Lost {
    type State = At;

    fn define(m: &mut Table<Self>) {
        m.initially::<Begin>().create(|_, _| Lost).stay();
    }
}

#[test]
fn a_machine_with_findings_has_no_story() {
    let text = why(Story::of(definition::<Lost>()).given(start("well")));
    assert!(text.contains("fails before it begins"), "{text}");
}

#[test]
#[should_panic(expected = "the story of tale fails at step 1")]
fn run_panics_with_the_story() {
    tale().then_finished().run();
}

/// A saga that writes down who began it.
#[derive(Clone, Serialize, Deserialize)]
struct Diary;

impl Machine for Diary {
    type State = At;

    fn define(m: &mut Table<Self>) {
        m.statement("note", ("INSERT INTO notes VALUES ($1)", "INSERT INTO notes VALUES (?1)"));
        m.purge_step("notes", Dialects::same("DELETE FROM notes"));
        m.initially::<Begin>()
            .create(|e, out| {
                out.sql("note", [&e.how]);
                Diary
            })
            .go_to(At::Work);
        m.during([At::Work]).after(Bell).finish();
        m.during_any().on::<Stop>().finish();
    }
}

#[test]
fn a_statement_is_seen_once_and_one_that_does_not_fit_is_shown() {
    let begun = || {
        let begin = Begin { correlation_id: Uuid::from_u128(1), how: "well".to_owned() };
        Story::of(definition::<Diary>()).given(begin)
    };
    let told = begun().then_sql("note", |values| values[0] == "well").then_no_more_sql().run();
    assert!(told.lines.iter().any(|line| line.contains("carries out note")), "{told:?}");
    for (story, why) in [
        (
            begun().then_sql("note", |values| values[0] == "badly"),
            "none of these fits:\n    [\"well\"]",
        ),
        (begun().then_sql("other", |_| true), "carried out so far: [note]"),
        (begun().then_no_more_sql(), "note was, with [\"well\"]"),
        (begun().then_sql("note", |_| true).then_sql("note", |_| true), "none was"),
    ] {
        let failed = story.try_run().expect_err("it does not hold");
        assert!(failed.contains(why), "{failed}");
    }
}
