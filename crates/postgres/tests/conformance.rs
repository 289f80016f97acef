//! The shared suite of stores, on a real Postgres: each case on a database of its own.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use futures_util::FutureExt;
use knarr_model::Context;
use knarr_model::commit::Slice;
use knarr_model::ids::{InstanceId, RowId, derived_id};
use knarr_model::ports::store::EndpointState;
use knarr_model::work::{RowKind, Timer};
use knarr_postgres::Store;
use knarr_testkit::conformance::guard::{GuardUnderTest, Guards};
use knarr_testkit::conformance::store::{StoreUnderTest, Stores};
use knarr_testkit::services::postgres;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, Connection, Postgres, Row};

use support::{connect, settings};

/// A database per case, and a handle per node.
struct Fresh;

#[async_trait]
impl StoreUnderTest for Fresh {
    async fn fresh(&self) -> Stores {
        GuardUnderTest::fresh(self).await.stores
    }
}

#[async_trait]
impl GuardUnderTest for Fresh {
    async fn fresh(&self) -> Guards {
        let database = postgres::database().await;
        let settings = settings(&database.url());
        let store = Store::connect(settings.clone()).await.expect("the store is opened");
        let second = Store::connect(settings).await.expect("the second handle is opened");
        let url = database.url();
        let force = {
            let url = url.clone();
            move |(endpoint, state): (Arc<str>, EndpointState)| {
                let url = url.clone();
                async move {
                    let sql = "UPDATE knarr.endpoint SET state = $2, closed = $2 = 'halted' \
                               WHERE name = $1";
                    execute(&url, sqlx::query(sql).bind(&*endpoint).bind(state.as_str())).await;
                }
                .boxed()
            }
        };
        let corrupt_instance = {
            let url = url.clone();
            move |(saga, id): (Arc<str>, InstanceId)| {
                let url = url.clone();
                async move {
                    let sql =
                        "UPDATE knarr.instance SET data = '{\"cut' WHERE saga = $1 AND id = $2";
                    execute(&url, sqlx::query(sql).bind(saga.to_string()).bind(id.0)).await;
                }
                .boxed()
            }
        };
        let asked = {
            let url = url.clone();
            move |sql: String| ask(url.clone(), sql).boxed()
        };
        let corrupt = move |(kind, row): (RowKind, RowId)| {
            let url = url.clone();
            let sql = match kind {
                RowKind::Timer => "UPDATE knarr.timer SET context = '{\"cut' WHERE id = $1",
                RowKind::Call => "UPDATE knarr.activity SET context = '{\"cut' WHERE id = $1",
                RowKind::Parked => "UPDATE knarr.parked SET envelope = '{\"cut' WHERE id = $1",
            };
            async move { execute(&url, sqlx::query(sql).bind(row.0)).await }.boxed()
        };
        let (store, second) = (Arc::new(store), Arc::new(second));
        let stores = Stores::real(store.clone(), second.clone(), store.clone(), Arc::new(force))
            .refusing(endpoint_with_a_nul)
            .corrupting(Arc::new(corrupt))
            .corrupting_instances(Arc::new(corrupt_instance))
            .speaking(Arc::new(asked))
            .keeping(database);
        Guards { stores, guard: store.clone(), second, incidents: store, sql: true }
    }
}

/// Rows as text, `NULL` where there is nothing.
async fn ask(url: String, sql: String) -> Vec<Vec<String>> {
    let mut connection = connect(&url).await;
    let path = "SET search_path = knarr";
    sqlx::raw_sql(path).execute(&mut connection).await.expect("the schema is there");
    // The simple protocol answers in text.
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
    let text = |row: &PgRow, at: usize| {
        let value = row.try_get_raw(at).expect("a column");
        value.as_str().map_or_else(|_| "NULL".to_owned(), str::to_owned)
    };
    let rows = rows.expect("the SQL is carried out");
    rows.iter().map(|row| (0..row.len()).map(|at| text(row, at)).collect()).collect()
}

/// Postgres keeps no NUL in text. Texts that come from messages are escaped; names of endpoints,
/// which come from the configuration, are not.
fn endpoint_with_a_nul(slice: &mut Slice) {
    slice.timers.push(Timer {
        id: RowId(derived_id(&[b"timer"])),
        endpoint: "orders\0".into(),
        saga: "order".into(),
        instance: InstanceId(derived_id(&[b"instance"])),
        run: 1,
        name: "expiry".to_owned(),
        due_at: DateTime::UNIX_EPOCH,
        attempt: 0,
        claims: 0,
        context: Context::default(),
    });
}

/// Runs one statement past the store.
async fn execute(url: &str, query: sqlx::query::Query<'static, Postgres, PgArguments>) {
    let mut connection = connect(url).await;
    query.execute(&mut connection).await.expect("the statement runs");
    connection.close().await.expect("the connection is closed");
}

knarr_testkit::store_conformance!(Fresh);

mod guard {
    use super::*;
    knarr_testkit::guard_conformance!(Fresh);
}
