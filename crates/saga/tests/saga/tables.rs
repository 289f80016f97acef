//! A machine's own tables, and what it declares for its failures.

use std::time::Duration;

use knarr_model::Effect;
use knarr_saga::prelude::*;
use knarr_saga::{FailurePolicy, InstanceId, Verdict, definition};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::kit::{Bench, ID, told};
use crate::messages;

messages!(Start, Unknown, Short, Shapeless);

#[derive(Clone, Copy, Debug, States)]
enum Step {
    Running,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Keeper;

const INSERT: (&str, &str) = (
    "INSERT INTO entries (owner, n) VALUES ($1, $2)",
    "INSERT INTO entries (owner, n) VALUES (?1, ?2)",
);

impl Machine for Keeper {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.on_failure(OnFailure::ContainInstance);
        m.block(BlockBy::Id);
        m.contain_on_start();
        m.restart_after(minutes(5));
        m.migration("0001", ("CREATE TABLE entries (owner uuid)", "CREATE TABLE entries (owner)"));
        m.migration("0002", Dialects::same("ALTER TABLE entries ADD COLUMN n bigint"));
        m.statement("insert_entry", INSERT);
        m.purge_step(
            "of the run",
            ("DELETE FROM entries WHERE owner = $1 AND n = $2", "DELETE FROM entries WHERE n = ?2"),
        );
        m.purge_step("of all runs", Dialects::same("DELETE FROM entries"));

        m.initially::<Start>().create(start).go_to(Step::Running);
        m.during([Step::Running]).on::<Unknown>().then(unknown).stay();
        m.during([Step::Running]).on::<Short>().then(short).stay();
        m.during([Step::Running]).on::<Shapeless>().then(shapeless).stay();
        m.during([Step::Running]).after("end").finish();
    }
}

fn start(e: &Start, out: &mut Effects<Keeper>) -> Keeper {
    out.sql("insert_entry", (e.correlation_id, 7));
    out.schedule("end", minutes(1));
    Keeper
}

fn unknown(_: &mut Keeper, _: &Unknown, out: &mut Effects<Keeper>) {
    out.sql("insert_entri", (1, 2));
}

fn short(_: &mut Keeper, _: &Short, out: &mut Effects<Keeper>) {
    out.sql("insert_entry", [1]);
}

fn shapeless(_: &mut Keeper, _: &Shapeless, out: &mut Effects<Keeper>) {
    out.sql("insert_entry", "no list");
}

fn begun() -> Bench {
    let mut bench = Bench::of::<Keeper>();
    assert_eq!(bench.send(&Start { correlation_id: ID }).verdict, Verdict::Applied);
    bench
}

#[test]
fn what_a_machine_declares_for_its_failures_is_told() {
    let definition = definition::<Keeper>();
    assert_eq!(definition.findings(), []);
    assert_eq!(
        definition.failures(),
        FailurePolicy {
            on_failure: OnFailure::ContainInstance,
            block: BlockBy::Id,
            contain_on_start: true,
            restart_after: Some(Duration::from_secs(300)),
        }
    );
}

#[test]
fn s0_13_purge_steps_come_in_order_with_the_instance_and_the_run() {
    let id = InstanceId(Uuid::from_u128(7));
    let steps = definition::<Keeper>().purge_steps(id, 3);
    let told: Vec<_> = steps.iter().map(|step| (&*step.name, step.parameters.clone())).collect();
    assert_eq!(
        told,
        [
            ("of the run", vec![json!(id.0), json!(3)]),
            // One that takes no parameters is given none.
            ("of all runs", vec![]),
        ]
    );
    assert_eq!(steps[0].text.sqlite, "DELETE FROM entries WHERE n = ?2");
}

#[test]
fn migrations_name_their_saga_and_keep_their_order() {
    let scripts = definition::<Keeper>().migrations();
    let told: Vec<_> = scripts.iter().map(|script| (&*script.saga, &*script.name)).collect();
    assert_eq!(told, [("keeper", "0001"), ("keeper", "0002")]);
    assert_eq!(scripts[0].text.sqlite, "CREATE TABLE entries (owner)");
}

#[test]
fn a_statement_is_an_effect_with_its_text_and_its_parameters() {
    let mut bench = Bench::of::<Keeper>();
    let decision = bench.send(&Start { correlation_id: ID });
    assert_eq!(told(&decision), ["sql insert_entry", "set end"]);
    let Effect::Sql(statement) = &decision.effects[0] else { panic!("{decision:?}") };
    assert_eq!(statement.text, Dialects::from(INSERT));
    assert_eq!(statement.parameters, [json!(ID), json!(7)]);
}

#[test]
fn a_statement_that_the_table_does_not_know_breaks_the_step_and_says_so() {
    let mut bench = begun();
    for (decision, why) in [
        (bench.send(&Unknown { correlation_id: ID }), "add m.statement(\"insert_entri\""),
        (bench.send(&Short { correlation_id: ID }), "takes 2 parameters, 1 were given"),
        (bench.send(&Shapeless { correlation_id: ID }), "no tuple and no list"),
    ] {
        let Verdict::Broken(errors) = &decision.verdict else { panic!("{decision:?}") };
        assert!(errors[0].contains(why), "{errors:?}");
        assert!(decision.effects.is_empty());
    }
}
