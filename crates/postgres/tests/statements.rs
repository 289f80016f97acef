//! A saga's own statements on a real Postgres: checks that wait for COMMIT, and errors that are raised.

mod support;

use std::time::Duration;

use knarr_model::commit::{Commit, CommitOutcome, Slice};
use knarr_model::ids::{NodeId, RowId};
use knarr_model::ports::{Store as _, StoreError};
use knarr_model::statement::{Dialects, Script, Statement};
use knarr_postgres::Store;
use knarr_testkit::services::postgres;
use serde_json::{Value, json};
use uuid::Uuid;

use support::{connect, settings};

const MAKE: &str = "
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (
    parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED,
    price  numeric
);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not on a Sunday; never'; END $$;
CREATE TABLE closed (id int);
CREATE TRIGGER closed BEFORE INSERT ON closed EXECUTE FUNCTION refuse();";

async fn carry_out(store: &Store, text: &str, parameters: Vec<Value>) -> Result<(), StoreError> {
    let row = store.endpoint(&"orders".into()).await.expect("the endpoint's row");
    let name = "write".to_owned();
    let statement = Statement { name, text: Dialects::same(text), parameters };
    let commit = Commit {
        endpoint: "orders".into(),
        saga: "order".into(),
        node: NodeId(Uuid::from_u128(1)),
        epoch: row.epoch,
        guard_version: row.guard_version,
        ordered: false,
        slices: vec![Slice { statements: vec![statement], ..Slice::default() }],
        chunk_ids: vec![RowId(Uuid::from_u128(2))],
        finished_chunks: Vec::new(),
        now: chrono::DateTime::UNIX_EPOCH,
    };
    let outcome = store.commit(commit).await?;
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    Ok(())
}

#[tokio::test]
async fn what_a_commit_or_a_trigger_refuses_is_the_datas_fault() {
    let database = postgres::database().await;
    let mut settings = settings(&database.url());
    let text = Dialects::same(MAKE);
    settings.scripts = vec![Script { saga: "order".into(), name: "0001".to_owned(), text }];
    let store = Store::connect(settings).await.expect("the store is opened");
    store.join(NodeId(Uuid::from_u128(1)), Duration::from_secs(60)).await.expect("it joins");
    for (text, parameters, why) in [
        ("INSERT INTO child (parent) VALUES ($1)", vec![json!(7)], "foreign key"),
        ("INSERT INTO closed VALUES ($1)", vec![json!(7)], "not on a Sunday"),
        ("INSERT INTO child (price) VALUES ($1)", vec![json!(1.5)], "$n::text::type"),
        ("INSERT INTO parent VALUES ($1)", vec![json!("seven")], "INT4"),
        ("UPDATE parent SET id = (SELECT 1 FROM generate_series(1, $1))", vec![json!(2)], ""),
    ] {
        if text.starts_with("UPDATE") {
            carry_out(&store, "INSERT INTO parent VALUES ($1)", vec![json!(9)]).await.expect("in");
        }
        let error = carry_out(&store, text, parameters).await.expect_err(text);
        assert!(error.is_data() && error.to_string().contains(why), "{text}: {error}");
    }
    let mut beside = connect(&database.url()).await;
    let exact = "INSERT INTO child (price) VALUES ($1::text::numeric)";
    carry_out(&store, exact, vec![json!("1.10")]).await.expect("a text is cast by the server");
    let prices: Vec<String> = sqlx::query_scalar("SELECT price::text FROM knarr.child")
        .fetch_all(&mut beside)
        .await
        .expect("the table is read");
    assert_eq!(prices, ["1.10"], "nothing of what was refused is there");
    store.close().await;
}
