//! Schemas: made once by however many replicas start together, refused when newer, kept apart.

mod support;

use knarr_model::ports::Store as _;
use knarr_model::statement::{Dialects, Script};
use knarr_postgres::{Error, SCHEMA_VERSION, Store, migrate};
use knarr_testkit::Steering as _;
use knarr_testkit::services::postgres;
use sqlx::{AssertSqlSafe, Executor};

use support::{connect, settings};

#[tokio::test]
async fn pe_291_row_051_replicas_that_start_together_migrate_once_and_again_is_nothing() {
    let database = postgres::database().await;
    let starts: Vec<_> =
        (0..6).map(|_| tokio::spawn(Store::connect(settings(&database.url())))).collect();
    for start in starts {
        let store = start.await.expect("no panic").expect("the store is opened");
        store.endpoint(&"orders".into()).await.expect("its tables are there");
        store.close().await;
    }
    let mut connection = connect(&database.url()).await;
    let versions: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM knarr.schema_version ORDER BY version")
            .fetch_all(&mut connection)
            .await
            .expect("versions are read");
    assert_eq!(versions, (1..=SCHEMA_VERSION).collect::<Vec<_>>());
    let found = migrate(&settings(&database.url())).await.expect("migrating again is no error");
    assert_eq!(found, SCHEMA_VERSION);
}

#[tokio::test]
async fn row_051_a_newer_schema_is_refused_by_name_and_left_alone() {
    let database = postgres::database().await;
    Store::connect(settings(&database.url())).await.expect("the store is opened").close().await;
    let newer = SCHEMA_VERSION + 1;
    let mut connection = connect(&database.url()).await;
    sqlx::query("INSERT INTO knarr.schema_version (version) VALUES ($1)")
        .bind(newer)
        .execute(&mut connection)
        .await
        .expect("a newer Knarr was here");
    let mut verifying = settings(&database.url());
    verifying.migrate = false;
    for settings in [settings(&database.url()), verifying] {
        let error = Store::connect(settings).await.expect_err("the schema is newer");
        assert!(
            matches!(&error, Error::NewerSchema { schema, found, known }
                if schema == "knarr" && *found == newer && *known == SCHEMA_VERSION),
            "{error}"
        );
        assert!(!error.is_transient() && error.is_misfit());
        let text = error.to_string();
        for part in [format!("version {newer}"), format!("up to {SCHEMA_VERSION}")] {
            assert!(text.contains(&part) && !text.contains('\n'), "{text}");
        }
    }
    let versions: i64 = sqlx::query_scalar("SELECT count(*) FROM knarr.schema_version")
        .fetch_one(&mut connection)
        .await
        .expect("counted");
    assert_eq!(versions, newer, "nothing was added");
}

#[tokio::test]
async fn pe_290_row_051_an_older_schema_is_refused_when_connecting_may_not_migrate() {
    let database = postgres::database().await;
    let mut settings = settings(&database.url());
    settings.migrate = false;
    let error = Store::connect(settings.clone()).await.expect_err("there is no schema");
    assert!(matches!(error, Error::OlderSchema { found: 0, .. }), "{error}");
    assert!(error.is_misfit() && error.to_string().contains("run `migrate`"), "{error}");
    assert_eq!(migrate(&settings).await.expect("the schema is made"), 0);
    Store::connect(settings).await.expect("the store is opened").close().await;
}

#[tokio::test]
async fn a_role_that_may_not_create_schemas_uses_one_made_for_it() {
    let database = postgres::database().await;
    let role = format!("{}_role", database.name());
    let mut owner = connect(&database.url()).await;
    for sql in [
        format!("CREATE ROLE {role} LOGIN PASSWORD 'x'"),
        format!("REVOKE CREATE ON DATABASE {} FROM PUBLIC", database.name()),
        format!("CREATE SCHEMA shop AUTHORIZATION {role}"),
    ] {
        owner.execute(AssertSqlSafe(sql)).await.expect("the role is prepared");
    }
    let url = as_role(&database.url(), &role);
    let opened = Store::connect(settings(&url).schema("shop")).await;
    opened.expect("the store is opened").close().await;
    let refused = Store::connect(settings(&url).schema("other")).await;
    let error = refused.expect_err("the role may not create a schema");
    assert!(!error.is_transient() && error.to_string().contains("permission denied"), "{error}");
    for sql in [format!("DROP OWNED BY {role}"), format!("DROP ROLE {role}")] {
        owner.execute(AssertSqlSafe(sql)).await.expect("the role is removed");
    }
}

/// The URL of another role on the same server.
fn as_role(url: &str, role: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let server = rest.split_once('@').map_or(rest, |(_, server)| server);
    format!("{scheme}://{role}:x@{server}")
}

#[tokio::test]
async fn applications_share_a_database_without_meeting() {
    let database = postgres::database().await;
    let open = |schema: &'static str| Store::connect(settings(&database.url()).schema(schema));
    let (shop, bank) = (open("shop").await, open("bank").await);
    let (shop, bank) = (shop.expect("shop is opened"), bank.expect("bank is opened"));
    let name = "orders".into();
    shop.endpoint(&name).await.expect("the endpoint is made");
    bank.endpoint(&name).await.expect("the endpoint is made");
    assert_eq!(shop.halt(&name).await.expect("shop is halted").epoch, 2);
    assert_eq!(bank.endpoint(&name).await.expect("the endpoint is read").epoch, 1);
}

#[tokio::test]
async fn a_bad_schema_name_or_url_is_told_before_anything_is_sent() {
    let nowhere = "postgres://me:secret@127.0.0.1:1/db";
    let error = Store::connect(settings(nowhere).schema("a\"; DROP SCHEMA x; --"))
        .await
        .expect_err("that is no name");
    assert!(matches!(error, Error::SchemaName(_)), "{error}");
    let error = Store::connect(settings("no url")).await.expect_err("that is no URL");
    assert!(matches!(error, Error::Url(_)), "{error}");
    let error = Store::connect(settings(nowhere)).await.expect_err("nobody listens there");
    assert!(error.is_transient() && !error.to_string().contains("secret"), "{error}");
}

fn script(name: &str, text: &str) -> Script {
    Script { saga: "scan".into(), name: name.to_owned(), text: Dialects::same(text) }
}

const MAKE: &str = "CREATE TABLE entries (n int); INSERT INTO entries VALUES (1)";

#[tokio::test]
async fn a_sagas_own_tables_are_made_once_by_replicas_that_start_together() {
    let database = postgres::database().await;
    let mut settings = settings(&database.url());
    // A script that leads elsewhere does not lead the next one there.
    let lost = "SET LOCAL search_path = pg_catalog";
    let add = "ALTER TABLE entries ADD COLUMN note text";
    settings.scripts = vec![script("0001", MAKE), script("0002", lost), script("0003", add)];
    let starts: Vec<_> = (0..4).map(|_| tokio::spawn(Store::connect(settings.clone()))).collect();
    for start in starts {
        start.await.expect("no panic").expect("the store is opened").close().await;
    }
    assert_eq!(migrate(&settings).await.expect("once more is no error"), SCHEMA_VERSION);
    let mut connection = connect(&database.url()).await;
    let rows: Vec<(i32, Option<String>)> = sqlx::query_as("SELECT n, note FROM knarr.entries")
        .fetch_all(&mut connection)
        .await
        .expect("the table is in the application's schema");
    assert_eq!(rows, [(1, None)]);
    let mut verifying = settings.clone();
    verifying.migrate = false;
    Store::connect(verifying).await.expect("nothing is missing").close().await;
}

#[tokio::test]
async fn a_changed_or_missing_migration_is_refused_in_one_clear_line() {
    let database = postgres::database().await;
    let mut settings = settings(&database.url());
    settings.scripts = vec![script("0001", MAKE)];
    migrate(&settings).await.expect("it is applied");
    let mut verifying = settings.clone();
    verifying.migrate = false;
    verifying.scripts.push(script("0002", "CREATE TABLE more (n int)"));
    let error = Store::connect(verifying.clone()).await.expect_err("one is missing");
    assert!(matches!(&error, Error::MissingMigration { name, .. } if name == "0002"), "{error}");
    assert!(error.to_string().contains("run `migrate`"), "{error}");

    for migrates in [true, false] {
        let mut changed = settings.clone();
        changed.migrate = migrates;
        changed.scripts = vec![script("0001", "CREATE TABLE entries (n bigint)")];
        let error = Store::connect(changed).await.expect_err("it was changed");
        assert!(matches!(error, Error::ChangedMigration { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("saga scan: migration `0001`") && !text.contains('\n'), "{text}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn pe_289_a_migration_that_fails_leaves_nothing_behind() {
    let database = postgres::database().await;
    let mut settings = settings(&database.url());
    let broken = "CREATE TABLE more (n int); CREATE TABLE more (n int)";
    settings.scripts = vec![script("0001", MAKE), script("0002", broken)];
    let error = migrate(&settings).await.expect_err("the second one fails");
    assert!(matches!(&error, Error::BadMigration { name, .. } if name == "0002"), "{error}");
    assert!(error.to_string().contains("already exists") && !error.is_transient(), "{error}");
    settings.scripts[1] = script("0002", "CREATE TABLE more (n int)");
    migrate(&settings).await.expect("mended, it is applied");
}

#[tokio::test]
async fn pe_293_a_table_of_our_name_that_is_not_ours_is_named_and_left_alone() {
    let database = postgres::database().await;
    let mut connection = connect(&database.url()).await;
    let theirs = "CREATE SCHEMA knarr; CREATE TABLE knarr.outbox (n int)";
    connection.execute(theirs).await.expect("somebody was here");
    for migrates in [true, false] {
        let mut settings = settings(&database.url());
        settings.migrate = migrates;
        let error = Store::connect(settings).await.expect_err("it is not ours");
        assert!(!error.is_transient(), "{error}");
        assert!(!migrates || error.to_string().contains("\"outbox\""), "{error}");
    }
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'knarr'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("tables are read");
    assert_eq!(tables, ["outbox"], "nothing is made on the way");
}
