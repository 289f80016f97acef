//! The shared suites of the store and of the guard against the SQLite file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use futures_util::FutureExt;
use knarr_embedded::{Settings, Store};
use knarr_model::ids::{InstanceId, Name, RowId};
use knarr_model::ports::store::EndpointState;
use knarr_model::work::{RowKind, Timer};
use knarr_model::{Context, Slice};
use knarr_testkit::clock::TokioClock;
use knarr_testkit::conformance::guard::{GuardUnderTest, Guards};
use knarr_testkit::conformance::store::{StoreUnderTest, Stores};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};

struct Fresh;

#[async_trait]
impl StoreUnderTest for Fresh {
    async fn fresh(&self) -> Stores {
        self.open().await.1
    }
}

#[async_trait]
impl GuardUnderTest for Fresh {
    async fn fresh(&self) -> Guards {
        let (store, stores) = self.open().await;
        Guards {
            stores,
            guard: Arc::new(store.clone()),
            second: Arc::new(store.clone()),
            incidents: Arc::new(store),
            sql: true,
        }
    }
}

impl Fresh {
    async fn open(&self) -> (Store, Stores) {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("data").join("knarr.db");
        let clock = Arc::new(TokioClock::real());
        let store =
            Store::open(Settings::new(&path), clock).await.expect("a new file can be opened");
        let (first, second, records) = (store.clone(), store.clone(), store.clone());
        let (forced, spoiled, cut, asked) = (path.clone(), path.clone(), path.clone(), path);
        let stores = Stores::real(
            Arc::new(first),
            Arc::new(second),
            Arc::new(records),
            Arc::new(move |(endpoint, state)| force(forced.clone(), endpoint, state).boxed()),
        )
        .refusing(twice)
        .corrupting(Arc::new(move |(kind, row)| spoil(spoiled.clone(), kind, row).boxed()))
        .corrupting_instances(Arc::new(move |(saga, id)| {
            spoil_instance(cut.clone(), saga, id).boxed()
        }))
        .speaking(Arc::new(move |sql| ask(asked.clone(), sql).boxed()))
        .keeping(folder);
        (store, stores)
    }
}

/// One row twice breaks the primary key.
fn twice(slice: &mut Slice) {
    let instance = slice.key.expect("the slice is of an instance");
    let timer = Timer {
        id: RowId(instance.0),
        endpoint: Name::from("orders"),
        saga: Name::from("order"),
        instance,
        run: 1,
        name: "twice".to_owned(),
        due_at: DateTime::UNIX_EPOCH,
        attempt: 0,
        claims: 0,
        context: Context::default(),
    };
    slice.timers.extend([timer.clone(), timer]);
}

async fn beside(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .connect()
        .await
        .expect("the file can be opened twice")
}

async fn force(path: PathBuf, endpoint: Name, state: EndpointState) {
    let mut connection = beside(&path).await;
    sqlx::query("UPDATE endpoint SET state = ?2 WHERE name = ?1")
        .bind(&*endpoint)
        .bind(state.as_str())
        .execute(&mut connection)
        .await
        .expect("the state is set");
}

/// Rows as text, `NULL` where there is nothing.
async fn ask(path: PathBuf, sql: String) -> Vec<Vec<String>> {
    let mut connection = beside(&path).await;
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
    let text = |row: &SqliteRow, at: usize| {
        let whole = row.try_get_unchecked::<Option<String>, _>(at).expect("a column");
        whole.unwrap_or_else(|| "NULL".to_owned())
    };
    let rows = rows.expect("the SQL is carried out");
    rows.iter().map(|row| (0..row.len()).map(|at| text(row, at)).collect()).collect()
}

async fn spoil(path: PathBuf, kind: RowKind, row: RowId) {
    let mut connection = beside(&path).await;
    let sql = match kind {
        RowKind::Timer => "UPDATE timer SET context = '{' WHERE id = ?1",
        RowKind::Call => "UPDATE activity SET payload = '{' WHERE id = ?1",
        RowKind::Parked => "UPDATE parked SET envelope = '{' WHERE id = ?1",
    };
    sqlx::query(sql).bind(row.0).execute(&mut connection).await.expect("the row is spoiled");
}

async fn spoil_instance(path: PathBuf, saga: Name, id: InstanceId) {
    let mut connection = beside(&path).await;
    sqlx::query("UPDATE instance SET data = '{' WHERE saga = ?1 AND id = ?2")
        .bind(&*saga)
        .bind(id.0)
        .execute(&mut connection)
        .await
        .expect("the row is spoiled");
}

knarr_testkit::store_conformance!(Fresh);

mod guard {
    use super::*;
    knarr_testkit::guard_conformance!(Fresh);
}
