//! Statements on a saga's own tables: part of the commit that they are asked for in.

use knarr_model::commit::{CommitOutcome, Slice};
use knarr_model::ids::InstanceId;
use knarr_model::ports::store::EndpointState;
use knarr_model::statement::{Dialects, Statement};
use serde_json::{Value, json};

use super::stores::{Sql, Stores};
use super::world::{World, lost};

/// A saga's own table, which both dialects understand.
const MAKE: &str = "CREATE TABLE entries (
    owner  text   NOT NULL,
    n      bigint NOT NULL CHECK (n < 100),
    note   text,
    PRIMARY KEY (owner, n)
)";

/// A world with that table.
struct Tables {
    world: World,
    sql: Sql,
}

impl Tables {
    /// `None` for a store that speaks no SQL.
    async fn new(stores: Stores) -> Option<Tables> {
        let sql = stores.sql.clone()?;
        let world = World::new(stores).await;
        sql(MAKE.to_owned()).await;
        Some(Tables { world, sql })
    }

    /// The rows as they are.
    async fn entries(&self) -> Vec<Vec<String>> {
        (self.sql)("SELECT owner, n, note FROM entries ORDER BY owner, n".to_owned()).await
    }

    /// A slice that makes `id` and asks for these statements.
    fn step(&self, id: InstanceId, statements: Vec<Statement>) -> Slice {
        Slice { statements, ..self.world.step(id, 1) }
    }

    fn id(&self) -> InstanceId {
        InstanceId(self.world.id())
    }
}

fn statement(name: &str, postgres: &str, parameters: Vec<Value>) -> Statement {
    let sqlite = postgres.replace('$', "?").replace("::uuid", "").replace("::text", "");
    let text = Dialects { postgres: postgres.to_owned(), sqlite };
    Statement { name: name.to_owned(), text, parameters }
}

fn insert(owner: &str, n: i64) -> Statement {
    let text = "INSERT INTO entries (owner, n) VALUES ($1, $2)";
    statement("insert_entry", text, vec![json!(owner), json!(n)])
}

fn row(owner: &str, n: &str, note: &str) -> Vec<String> {
    [owner, n, note].map(str::to_owned).to_vec()
}

/// What statements write is there when the commit is, in the order in which they were asked for,
/// those of a slice without an instance too.
pub async fn a_statement_is_carried_out_with_its_commit(stores: Stores) {
    let Some(tables) = Tables::new(stores).await else { return };
    let note = |text: &str, note: &str| {
        statement(
            "note",
            "UPDATE entries SET note = $1 WHERE owner = $2",
            vec![json!(note), json!(text)],
        )
    };
    let statements = vec![insert("a", 1), note("a", "first"), insert("a", 2), note("a", "both")];
    let aside = Slice { statements: vec![insert("b", 1)], ..Slice::default() };
    tables.world.commit(vec![tables.step(tables.id(), statements), aside]).await;
    let rows = [row("a", "1", "both"), row("a", "2", "both"), row("b", "1", "NULL")];
    assert_eq!(tables.entries().await, rows);
}

/// A commit that is fenced, or knows its messages already, carries out nothing; a slice that lost
/// its race is left out with its statements.
pub async fn a_commit_that_writes_nothing_carries_no_statement_out(stores: Stores) {
    let Some(tables) = Tables::new(stores).await else { return };
    let world = &tables.world;
    let known = world.step(tables.id(), 1);
    world.commit(vec![known.clone()]).await;
    let again = Slice { journal: known.journal.clone(), ..tables.step(tables.id(), Vec::new()) };
    let again = Slice { statements: vec![insert("again", 1)], ..again };
    assert!(matches!(world.try_commit(vec![again]).await, CommitOutcome::Duplicates(_)));
    let fenced = tables.step(tables.id(), vec![insert("fenced", 1)]);
    world.force(EndpointState::Halted).await;
    assert!(matches!(world.try_commit(vec![fenced]).await, CommitOutcome::Fenced));
    world.force(EndpointState::Open).await;
    assert_eq!(tables.entries().await, Vec::<Vec<String>>::new());

    let stale = known.key.expect("it is of an instance");
    let loser = tables.step(stale, vec![insert("lost", 1)]);
    let winner = tables.step(tables.id(), vec![insert("kept", 1)]);
    assert_eq!(lost(world.try_commit(vec![loser, winner]).await), [stale]);
    assert_eq!(tables.entries().await, [row("kept", "1", "NULL")]);
}

/// A broken constraint, a table that is not there, a text that is no SQL, a parameter too few: an
/// error of the data that names the statement. Nothing of the commit is written, and the store
/// goes on (behaviours 12).
pub async fn an_impossible_statement_is_the_datas_fault_and_undoes_its_commit(stores: Stores) {
    let Some(tables) = Tables::new(stores).await else { return };
    let world = &tables.world;
    world.commit(vec![tables.step(tables.id(), vec![insert("there", 1)])]).await;
    let bad = |text: &str, parameters: Vec<Value>| statement("insert_entry", text, parameters);
    let impossible = [
        insert("too large", 100),
        insert("there", 1),
        bad("INSERT INTO entries (owner, n) VALUES ($1, $2)", vec![Value::Null, json!(1)]),
        bad("INSERT INTO entries (owner, n) VALUES ($1, $2)", vec![json!("short")]),
        bad("INSERT INTO nowhere (owner) VALUES ($1)", vec![json!("x")]),
        bad("INSERT INTO entries (nothing) VALUES ($1)", vec![json!("x")]),
        bad("INSERT INTO", vec![]),
        bad("INSERT INTO entries (owner, n) VALUES ($1, $2)", vec![json!("big"), json!(u64::MAX)]),
    ];
    for guilty in impossible {
        let (fine, id) = (tables.id(), tables.id());
        let innocent = tables.step(fine, vec![insert("innocent", 1)]);
        let slices = vec![innocent.clone(), tables.step(id, vec![insert("own", 1), guilty])];
        let commit = world.commit_of(slices).await;
        let error = world.store().commit(commit).await.expect_err("the statement is refused");
        assert!(error.is_data() && error.to_string().contains("`insert_entry`"), "{error}");
        assert_eq!((world.version(fine).await, world.version(id).await), (0, 0));
        assert_eq!(tables.entries().await, [row("there", "1", "NULL")]);
        world.commit(vec![world.step(fine, 1)]).await;
    }
}

/// The first try at a commit fails after its statement ran; the second one carries it out, once
/// (PE-099).
pub async fn pe_099_a_commit_tried_again_carries_its_statements_out_once(stores: Stores) {
    let Some(tables) = Tables::new(stores).await else { return };
    let world = &tables.world;
    let id = tables.id();
    let step = tables.step(id, vec![insert("once", 1)]);
    let guilty = tables.step(tables.id(), vec![insert("guilty", 100)]);
    let both = world.commit_of(vec![step.clone(), guilty]).await;
    world.store().commit(both).await.expect_err("one of two is refused");
    world.commit(vec![step.clone()]).await;
    let repeated = Slice { instance: Some(world.instance(id, 2)), ..step };
    assert!(matches!(world.try_commit(vec![repeated]).await, CommitOutcome::Duplicates(_)));
    assert_eq!(tables.entries().await, [row("once", "1", "NULL")]);
}

/// Texts, whole and broken numbers, truth values, ids, instants, JSON and nothing: each arrives as
/// the column's type says, a text cast explicitly too, and a value that changes its kind from one
/// commit to the next is never taken for another.
pub async fn each_parameter_arrives_as_the_type_it_is_meant_for(stores: Stores) {
    let Some(tables) = Tables::new(stores).await else { return };
    let make = "CREATE TABLE typed (
        place integer PRIMARY KEY, word text, x double precision, yes boolean, id uuid,
        at timestamptz, more jsonb)";
    (tables.sql)(make.to_owned()).await;
    let text = "INSERT INTO typed VALUES ($1, $2, $3, $4, $5::uuid, $6, $7)";
    let id = "6f1c1c0e-5a0b-4c7e-9a51-0d9f3b1f8a10";
    let fill = |place: i64, x: Value, more: Value| {
        let at = json!("2026-01-02T03:04:05Z");
        let values = vec![json!(place), json!("it's; $1"), x, json!(true), json!(id), at, more];
        statement("fill", text, values)
    };
    let statements = vec![
        fill(1, json!(1), json!({ "a": [1, "b"] })),
        fill(2, json!(1.5), Value::Null),
        fill(3, Value::Null, json!([])),
    ];
    for one in statements {
        tables.world.commit(vec![tables.step(tables.id(), vec![one])]).await;
    }
    let check = format!(
        "SELECT place, x, CASE WHEN word = 'it''s; $1' AND yes AND id = '{id}' THEN 'as meant' \
         END FROM typed ORDER BY place"
    );
    let rows = (tables.sql)(check).await;
    let number = |text: &str| text.parse::<f64>().ok();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row[2] == "as meant"), "{rows:?}");
    assert_eq!(
        rows.iter().map(|row| number(&row[1])).collect::<Vec<_>>(),
        [Some(1.0), Some(1.5), None]
    );
}

/// What a run has written is deleted by a statement with its instance's id, as a purge step is
/// given it; entries of others stay. A parameter that a statement leaves unused does no harm
/// (S0-13).
pub async fn s0_13_a_runs_entries_are_deleted_and_no_others(stores: Stores) {
    let Some(tables) = Tables::new(stores).await else { return };
    let (failed, other) = (tables.id(), tables.id());
    let entries = |id: InstanceId| {
        let owner = id.0.to_string();
        vec![insert(&owner, 1), insert(&owner, 2)]
    };
    let world = &tables.world;
    world
        .commit(vec![tables.step(failed, entries(failed)), tables.step(other, entries(other))])
        .await;
    assert_eq!(tables.entries().await.len(), 4);
    let parameters = vec![json!(failed.0), json!(1)];
    let delete = statement("entries", "DELETE FROM entries WHERE owner = $1", parameters);
    let slice = Slice { statements: vec![delete], ..world.step(failed, 2) };
    world.commit(vec![slice]).await;
    let left: Vec<_> = tables.entries().await.into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(left, [other.0.to_string(), other.0.to_string()]);
}
