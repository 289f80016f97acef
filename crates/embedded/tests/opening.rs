//! Opening the file: the lock, the schema, and what a process finds that its predecessor left.

mod support;

use std::sync::Arc;
use std::time::Duration;

use knarr_embedded::{Error, Settings, Store};
use knarr_model::ids::{InstanceId, Name, NodeId};
use knarr_model::ports::{Clock as _, Records as _, Store as _};
use knarr_model::statement::{Dialects, Script};
use knarr_testkit::clock::TokioClock;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use support::{ENDPOINT, births, committed, id, open};

async fn refused(settings: Settings) -> Error {
    match Store::open(settings, Arc::new(TokioClock::real())).await {
        Ok(_) => panic!("the file was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep").join("knarr.db");
    let (store, _) = open(&path).await;
    let mut settings = Settings::new(&path);
    settings.lock_wait = Duration::from_millis(50);
    let error = refused(settings.clone()).await;
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    assert!(text.contains("knarr.db"), "{text}");
    store.close().await;
    open(&path).await.0.close().await;
}

#[tokio::test]
async fn an_opener_waits_for_a_predecessor_that_is_just_ending() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("knarr.db");
    let (store, transport) = open(&path).await;
    let ending = tokio::spawn(async move {
        TokioClock::real().sleep(Duration::from_millis(200)).await;
        // No close: the last handles go, as when a process is told to stop.
        drop((store, transport));
    });
    let (store, _) = open(&path).await;
    ending.await.expect("the predecessor ends");
    store.close().await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_in_one_clear_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("knarr.db");
    open(&path).await.0.close().await;
    let mut beside =
        SqliteConnectOptions::new().filename(&path).connect().await.expect("a connection");
    sqlx::query("PRAGMA user_version = 4711").execute(&mut beside).await.expect("it is set");
    beside.close().await.expect("closed");
    let error = refused(Settings::new(&path)).await;
    assert!(matches!(error, Error::Newer { found: 4711, .. }), "{error}");
    assert!(!error.to_string().contains('\n') && error.to_string().contains("4711"), "{error}");
}

#[tokio::test]
async fn pe_290_a_file_that_needs_migrating_is_refused_where_that_is_not_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep").join("knarr.db");
    let mut as_it_is = Settings::new(&path);
    as_it_is.migrate = false;
    let error = refused(as_it_is.clone()).await;
    assert!(matches!(error, Error::Older { found: 0, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("knarr.db") && text.contains("run `migrate`"), "{text}");
    assert!(!path.parent().expect("a folder").exists(), "nothing was made");

    open(&path).await.0.close().await;
    let clock = Arc::new(TokioClock::real());
    let opened = Store::open(as_it_is.clone(), clock).await.expect("it is up to date");
    opened.close().await;

    let mut beside =
        SqliteConnectOptions::new().filename(&path).connect().await.expect("a connection");
    sqlx::query("PRAGMA user_version = 1").execute(&mut beside).await.expect("it is set");
    beside.close().await.expect("closed");
    let error = refused(as_it_is.clone()).await;
    assert!(matches!(error, Error::Older { found: 1, .. }), "{error}");

    // An empty file is what is left of a first start that was cut off.
    let empty = folder.path().join("empty.db");
    std::fs::write(&empty, "").expect("written");
    as_it_is.path = empty;
    let error = refused(as_it_is).await;
    assert!(matches!(error, Error::Older { found: 0, .. }), "{error}");
}

#[tokio::test]
async fn pe_293_a_file_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("their.db");
    let mut theirs = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .connect()
        .await
        .expect("a connection");
    sqlx::query("CREATE TABLE theirs (a)").execute(&mut theirs).await.expect("a table");
    let error = refused(Settings::new(&path)).await;
    assert!(matches!(error, Error::Unusable { .. }), "{error}");
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema")
        .fetch_all(&mut theirs)
        .await
        .expect("");
    assert_eq!(tables, ["theirs"]);

    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "this is no database, and long enough to have a header".repeat(10))
        .expect("a text file");
    let error = refused(Settings::new(&text)).await;
    assert!(!error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_successor_takes_over_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("knarr.db");
    let (name, hour) = (Name::from(ENDPOINT), Duration::from_secs(3600));
    let (dead, heir) = (NodeId(id()), NodeId(id()));
    let ids: Vec<InstanceId> = (0..3).map(|_| InstanceId(id())).collect();
    let (store, transport) = open(&path).await;
    store.endpoint(&name).await.expect("the endpoint is made");
    store.join(dead, hour).await.expect("it joins");
    committed(&store, births(dead, &ids)).await;
    drop((store, transport));

    // The lock tells that the node is dead, whatever is left of its lease.
    let (store, _) = open(&path).await;
    store.join(heir, hour).await.expect("it joins");
    let chunks = store.take_chunks(heir, 10).await.expect("chunks are taken");
    assert_eq!(chunks.iter().map(|chunk| chunk.messages.len()).sum::<usize>(), ids.len());
    let counts = store.counts().await.expect("counted");
    assert_eq!((counts.len(), counts[0].count), (1, 3));
    store.close().await;
    let error = store.endpoint(&name).await.expect_err("it is closed");
    assert!(error.is_transient() && error.to_string().contains("closed"), "{error}");
}

fn script(name: &str, text: &str) -> Script {
    Script { saga: "scan".into(), name: name.to_owned(), text: Dialects::same(text) }
}

const MAKE: &str = "CREATE TABLE entries (n int); INSERT INTO entries VALUES (1)";

async fn opened(settings: &Settings) {
    let store = Store::open(settings.clone(), Arc::new(TokioClock::real())).await;
    store.expect("the file is opened").close().await;
}

#[tokio::test]
async fn a_sagas_own_tables_are_made_once_and_verified_without_migrating() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::new(folder.path().join("knarr.db"));
    settings.scripts = vec![script("0001", MAKE)];
    settings.migrate = false;
    refused(settings.clone()).await;
    assert!(!settings.path.exists(), "nothing is made by looking");
    settings.migrate = true;
    opened(&settings).await;
    opened(&settings).await;
    settings.migrate = false;
    opened(&settings).await;
    let mut beside =
        SqliteConnectOptions::new().filename(&settings.path).connect().await.expect("opened");
    let rows: Vec<i64> =
        sqlx::query_scalar("SELECT n FROM entries").fetch_all(&mut beside).await.expect("read");
    assert_eq!(rows, [1]);
    settings.scripts.push(script("0002", "CREATE TABLE more (n int)"));
    let error = refused(settings.clone()).await;
    assert!(matches!(&error, Error::MissingMigration { name, .. } if name == "0002"), "{error}");
    assert!(error.to_string().contains("run `migrate`"), "{error}");
}

#[tokio::test]
async fn a_changed_or_broken_migration_is_refused_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::new(folder.path().join("knarr.db"));
    let broken = "CREATE TABLE more (n int); CREATE TABLE more (n int)";
    settings.scripts = vec![script("0001", MAKE), script("0002", broken)];
    let error = refused(settings.clone()).await;
    assert!(matches!(&error, Error::BadMigration { name, .. } if name == "0002"), "{error}");
    assert!(error.to_string().contains("already exists"), "{error}");
    settings.scripts[1] = script("0002", "CREATE TABLE more (n int)");
    opened(&settings).await;
    for migrates in [true, false] {
        settings.migrate = migrates;
        settings.scripts[0] = script("0001", "CREATE TABLE entries (n text)");
        let error = refused(settings.clone()).await;
        assert!(matches!(error, Error::ChangedMigration { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("saga scan: migration `0001`") && !text.contains('\n'), "{text}");
    }
}
