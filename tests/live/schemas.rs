//! A schema ahead of or behind the binary: one clear line and exit code 2, and never half a run.

use std::process::Stdio;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tokio::process::Command;

use crate::serving::{Serving, knarr};
use crate::stored::Stored;
use crate::world::World;

/// Exit code, and what it wrote to its standard error.
async fn ended(mut command: Command) -> (Option<i32>, String) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    let output = output.expect("it is told at once").expect("it starts");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

/// The one line that says it must hold all of these.
fn one_line(said: &str, parts: &[&str]) {
    let lines: Vec<_> = said.lines().filter(|line| line.contains("KNARR_STORE")).collect();
    assert!(matches!(&*lines, [line] if parts.iter().all(|part| line.contains(part))), "{said}");
}

/// `serve`, `serve --no-migrate` and `migrate` in this world, each refused with code 2.
async fn refused(world: &World, set: &[(&str, &str)], parts: &[&str]) {
    for (verb, flags) in [("serve", &[][..]), ("serve", &["--no-migrate"]), ("migrate", &[])] {
        let (_, folder) = world.room();
        let mut command = knarr(world, verb, &folder);
        command.args(flags).envs(set.iter().copied());
        let (code, said) = ended(command).await;
        assert_eq!(code, Some(2), "{verb} {flags:?}: {said}");
        one_line(&said, parts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_051_live_replicas_that_start_at_once_make_one_schema_and_a_newer_one_is_refused() {
    let world = World::new().await;
    // Behind: nothing is there yet, and nothing is made.
    let (_, folder) = world.room();
    let mut command = knarr(&world, "serve", &folder);
    let (code, said) = ended({
        command.arg("--no-migrate");
        command
    })
    .await;
    assert_eq!(code, Some(2), "{said}");
    one_line(&said, &["version 0", "version 1 is needed", "`migrate`"]);
    let mut all: Vec<_> = (0..3).map(|_| Serving::start(&world, &[])).collect();
    for serving in &mut all {
        serving.wait_until_ready().await;
    }
    let mut stored = Stored::open(&world).await;
    assert_eq!(stored.count("SELECT count(*) FROM knarr.schema_version").await, 1);
    // Ahead: a newer one comes while these run. They go on; they are not let in again.
    stored.execute("INSERT INTO knarr.schema_version (version) VALUES (2)").await;
    let parts = ["version 2", "versions up to 1", "newer Knarr"];
    refused(&world, &[], &parts).await;
    assert_eq!(stored.count("SELECT count(*) FROM knarr.schema_version").await, 2);
    for serving in &mut all {
        serving.wait_until_ready().await;
    }
    for serving in all {
        assert!(serving.stop().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_051_live_a_file_of_a_newer_knarr_is_refused_the_same_way() {
    let world = World::new().await;
    let file = world.folder().join("knarr.sqlite");
    let url = format!("sqlite:{}", file.display());
    let set = [("KNARR_STORE", url.as_str()), ("KNARR_BROKER", "embedded:")];
    let serving = Serving::ready(&world, &set).await;
    assert!(serving.stop().await.success());
    let mut connection = SqliteConnection::connect(&url).await.expect("it is there");
    sqlx::raw_sql("PRAGMA user_version = 9").execute(&mut connection).await.expect("set");
    connection.close().await.expect("closed");
    refused(&world, &set, &["version 9", "versions up to 2", "newer Knarr"]).await;
    // Behind: made by an older one, which is told when it may not be changed.
    let older = world.folder().join("older.sqlite");
    let url = format!("sqlite:{}", older.display());
    let (_, folder) = world.room();
    let mut command = knarr(&world, "serve", &folder);
    command.arg("--no-migrate").envs([("KNARR_STORE", &*url), ("KNARR_BROKER", "embedded:")]);
    let (code, said) = ended(command).await;
    assert_eq!(code, Some(2), "{said}");
    one_line(&said, &["version 0", "version 2 is needed", "`migrate`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_054_live_a_pooler_in_transaction_mode_is_refused_and_one_in_session_mode_served() {
    use knarr_testkit::services::Pooler;
    let world = World::new().await;
    let sharing = Pooler::before(&world.store, "transaction").await;
    let url = sharing.url(&world.store);
    for verb in ["serve", "check"] {
        let (_, folder) = world.room();
        let mut command = knarr(&world, verb, &folder);
        command.env("KNARR_STORE", &url);
        if verb == "check" {
            command.arg("--against");
        }
        let (code, said) = ended(command).await;
        assert_eq!(code, Some(2), "{verb}: {said}");
        one_line(&said, &["pool_mode = session"]);
    }
    let lending = Pooler::before(&world.store, "session").await;
    let url = lending.url(&world.store);
    let serving = Serving::ready(&world, &[("KNARR_STORE", &url)]).await;
    let mut scans = crate::scans::Scans::tapped(&world).await;
    scans.submit(40).await;
    scans.all_ended_well(&world, &serving).await;
    assert!(serving.stop().await.success());
}

/// A role with fewer connections than a process wants: it works more slowly, and nothing fails.
#[tokio::test(flavor = "multi_thread")]
async fn row_043_live_fewer_connections_than_wanted_cost_time_and_nothing_else() {
    let world = World::new().await;
    let mut admin = PgConnection::connect(&world.store).await.expect("the database is there");
    let (base, name) = world.store.rsplit_once('/').expect("a path");
    let role = format!("{name}_few");
    for sql in [
        format!("CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 7"),
        format!("CREATE SCHEMA knarr AUTHORIZATION {role}"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("prepared");
    }
    let (scheme, rest) = base.split_once("://").expect("a URL");
    let server = rest.rsplit_once('@').map_or(rest, |(_, server)| server);
    let url = format!("{scheme}://{role}:x@{server}/{name}");
    let serving = Serving::ready(&world, &[("KNARR_STORE", &url)]).await;
    let mut scans = crate::scans::Scans::tapped(&world).await;
    scans.submit(100).await;
    scans.all_ended_well(&world, &serving).await;
    assert!(serving.stop().await.success());
    for sql in [format!("DROP OWNED BY {role} CASCADE"), format!("DROP ROLE {role}")] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("removed");
    }
}
