//! Purge steps: named statements on the saga's own tables, in the same transaction.

use std::sync::Arc;

use knarr_model::incident::StepDone;
use knarr_model::ports::guard::{Plan, Run, Scene};
use knarr_model::quarantine::Class;
use knarr_model::statement::{Dialects, Statement};
use serde_json::{Value, json};

use super::fixture::Guards;
use super::plan::purge;
use super::runs::full;
use super::world::GuardWorld;

fn step(name: &str, postgres: &str, sqlite: &str, parameters: Vec<Value>) -> Statement {
    let text = Dialects { postgres: postgres.to_owned(), sqlite: sqlite.to_owned() };
    Statement { name: name.to_owned(), text, parameters }
}

/// Makes the saga's own table, with three rows.
async fn side_table(world: &GuardWorld) {
    let make = "CREATE TABLE side (owner text, n bigint, x double precision, yes boolean, \
                gone text)";
    let fill = "INSERT INTO side VALUES ('a', 1, 1.5, true, NULL), ('a', 2, 2.5, false, 'x'), \
                ('b', 3, 3.5, true, 'x')";
    let steps = [make, fill]
        .map(|text| Statement {
            name: "side".to_owned(),
            text: Dialects::same(text),
            parameters: Vec::new(),
        })
        .to_vec();
    let done = world.write(Plan { steps, ..Plan::default() }).await;
    assert_eq!(done.steps[1], StepDone { name: "side".to_owned(), rows: 3 });
}

/// How many rows of the saga's own table are there.
async fn rows(world: &GuardWorld) -> u64 {
    let count = Statement {
        name: "count".to_owned(),
        text: Dialects::same("UPDATE side SET n = n"),
        parameters: Vec::new(),
    };
    let done = world.write(Plan { steps: vec![count], ..Plan::default() }).await;
    done.steps[0].rows
}

/// Steps run in order with their parameters bound by type, and each says how many rows it touched:
/// in the answer, and in the plan's first incident, also as it is stored.
pub async fn s0_13_purge_steps_run_in_order_and_count_their_rows(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    if !world.sql {
        return;
    }
    side_table(&world).await;
    let run = full(&world).await;
    let incident = world.incident(Class::Failed);
    let (number, own) = (incident.id, incident);
    let steps = vec![
        step(
            "typed",
            "UPDATE side SET gone = 'typed' WHERE owner = $1 AND n = $2 AND x = $3 AND yes = $4 \
             AND $5::text IS NULL",
            "UPDATE side SET gone = 'typed' WHERE owner = ?1 AND n = ?2 AND x = ?3 AND yes = ?4 \
             AND ?5 IS NULL",
            vec![json!("a"), json!(1), json!(1.5), json!(true), Value::Null],
        ),
        step(
            "delete",
            "DELETE FROM side WHERE owner = $1 OR gone = $2",
            "DELETE FROM side WHERE owner = ?1 OR gone = ?2",
            vec![json!("b"), json!("typed")],
        ),
        step(
            "none",
            "DELETE FROM side WHERE n = $1",
            "DELETE FROM side WHERE n = ?1",
            vec![json!(9)],
        ),
    ];
    let done = world
        .verb(world.ask_of(run.id), move |scene| Plan {
            steps: steps.clone(),
            ..purge(scene, &own)
        })
        .await;
    let told = [("typed", 1), ("delete", 2), ("none", 0)]
        .map(|(name, rows)| StepDone { name: name.to_owned(), rows });
    assert_eq!(done.steps, told);
    assert_eq!(done.plan.incidents[0].removed.steps, told);
    let stored = world.stored_incident(number).await.expect("the incident is there");
    assert_eq!(stored.removed.steps, told);
    assert_eq!(stored.removed.timers, 2);
    assert_eq!(rows(&world).await, 1);
}

/// A step that fails fails the verb as an error of the data that names the step, and undoes
/// everything, the steps before it included (row 13: all or nothing).
pub async fn row_013_a_failing_step_undoes_everything(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    if !world.sql {
        return;
    }
    side_table(&world).await;
    let run = full(&world).await;
    let before = world.picture(&[run.id]).await;
    let broken =
        ["DELETE FROM nowhere", "DELETE FROM", "INSERT INTO side (n) VALUES (1 / (1 - 1))"];
    // SQLite divides by zero without an error.
    let sqlite = ["DELETE FROM nowhere", "DELETE FROM", "INSERT INTO side (nothing) VALUES (1)"];
    for (postgres, sqlite) in broken.into_iter().zip(sqlite) {
        let steps = vec![
            step("first", "DELETE FROM side", "DELETE FROM side", Vec::new()),
            step("forget the orders", postgres, sqlite, Vec::new()),
        ];
        let (incident, line) = (world.incident(Class::Failed), world.line("purge", Some("k")));
        let decide = Arc::new(move |scene: &Scene| {
            let (steps, audit) = (steps.clone(), Some(line.clone()));
            Ok(Plan { steps, audit, ..purge(scene, &incident) })
        });
        let failed = world.guard.under_fence(world.ask_of(run.id), decide, Run::ForReal).await;
        let error = failed.expect_err("the verb fails");
        assert!(error.is_data(), "{error}");
        assert!(error.to_string().contains("forget the orders"), "{error}");
        assert_eq!(world.picture(&[run.id]).await, before);
    }
    assert_eq!(rows(&world).await, 3);
}

/// A dry run shows the steps and carries none out.
pub async fn guard_a_dry_run_carries_no_step_out(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    if !world.sql {
        return;
    }
    side_table(&world).await;
    let steps = vec![step("all", "DELETE FROM side", "DELETE FROM side", Vec::new())];
    let own = steps.clone();
    let decide = move |_: &Scene| Ok(Plan { steps: own.clone(), ..Plan::default() });
    let shown = world.try_verb(world.ask(), decide, Run::Dry).await.expect("it is shown");
    assert_eq!((shown.plan.steps, shown.steps), (steps, Vec::new()));
    assert_eq!(rows(&world).await, 3);
}
