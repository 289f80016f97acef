//! Postgres for tests: a fresh database on a shared server, or a whole server of one's own.

use std::time::Duration;

use uuid::Uuid;

use super::disks::Disks;
use super::process::{end, watch_ourselves};
use super::server::{Server, run};
use super::shared::{self, Service};

/// A fresh database for one test, deleted when dropped.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
}

/// Makes a database of the test's own.
///
/// # Panics
/// When there is no server to be found, in one line that says what to install or set.
pub async fn database() -> Database {
    let found = tokio::task::spawn_blocking(|| shared::find(Service::Postgres)).await;
    let server = match found.expect("finding Postgres") {
        shared::Found::Database(server) => server.url(),
        shared::Found::Url(url) => url,
        shared::Found::Broker(_) => unreachable!("a database was asked for"),
    };
    Database::on(server).await
}

impl Database {
    async fn on(server: String) -> Database {
        let name = format!("knarr_test_{}", Uuid::now_v7().simple());
        let create = format!("CREATE DATABASE {name} TEMPLATE template0");
        run(&server, &create).await.unwrap_or_else(|e| panic!("{create}: {e}"));
        Database { server, name }
    }

    /// `postgres://user@host:port/database`.
    pub fn url(&self) -> String {
        let (base, options) = match self.server.split_once('?') {
            Some((base, options)) => (base, format!("?{options}")),
            None => (self.server.as_str(), String::new()),
        };
        let scheme_end = base.find("://").map_or(0, |at| at + 3);
        let end = base[scheme_end..].find('/').map_or(base.len(), |at| scheme_end + at);
        format!("{}/{}{options}", &base[..end], self.name)
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A drop cannot wait, and the runtime of the test may be ending: a thread of its own can.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                let _best_effort = runtime.block_on(run(&server, &drop));
            }
        });
        let _ended = dropped.join();
    }
}

/// A server of the test's own, which it may kill, freeze, stop and start; removed when dropped.
#[derive(Debug)]
pub struct Private {
    server: Server,
}

impl Private {
    /// Starts a fresh server (some 2 s).
    ///
    /// # Panics
    /// When Postgres is not installed or does not start.
    pub async fn launch() -> Private {
        let server = tokio::task::spawn_blocking(Server::start_new).await;
        let server = server.expect("starting Postgres");
        watch_ourselves(server.dir());
        Private { server }
    }

    /// Starts a fresh server whose log and a database lie on small disks of their own; the URL of
    /// that database.
    ///
    /// # Panics
    /// The same, and when this process may not mount.
    pub async fn launch_on_small_disks() -> (Private, Disks, String) {
        let server = tokio::task::spawn_blocking(Server::start_on_small_disks).await;
        let server = server.expect("starting Postgres");
        watch_ourselves(server.dir());
        let disks = server.disks().cloned().expect("it was started on them");
        for statement in [
            format!("CREATE TABLESPACE small LOCATION '{}'", disks.data_folder()),
            "CREATE DATABASE small TEMPLATE template0 TABLESPACE small".to_owned(),
        ] {
            run(&server.url(), &statement).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
        }
        let url = server.url().replace("/postgres", "/small");
        (Private { server }, disks, url)
    }

    /// Starts a standby that follows this server.
    ///
    /// # Panics
    /// When Postgres' programs do not do what they should.
    pub async fn standby(&self) -> Private {
        let primary = self.server.clone();
        let server = tokio::task::spawn_blocking(move || primary.start_standby()).await;
        let server = server.expect("starting a standby");
        watch_ourselves(server.dir());
        Private { server }
    }

    /// Carries out one statement on the database that every cluster has.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn run(&self, statement: &str) {
        run(&self.server.url(), statement).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
    }

    /// Makes a fresh database on this server.
    pub async fn database(&self) -> Database {
        Database::on(self.server.url()).await
    }

    /// The URL of the database that every cluster has; the same after every start.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Kills the server without warning, as a power cut would. Data stay.
    pub async fn kill9(&self) {
        let pid = self.server.pid;
        let killed = tokio::task::spawn_blocking(move || end(pid, "KILL", Duration::from_secs(10)));
        killed.await.expect("killing Postgres");
    }

    /// Stops the server in an orderly way. Data stay.
    pub async fn stop(&self) {
        let server = self.server.clone();
        tokio::task::spawn_blocking(move || server.stop()).await.expect("stopping Postgres");
    }

    /// Stops the server as if it had crashed, but with its clients told (`immediate`). Data stay.
    pub async fn stop_at_once(&self) {
        let server = self.server.clone();
        let stopped = tokio::task::spawn_blocking(move || server.stop_at_once());
        stopped.await.expect("stopping Postgres");
    }

    /// Whether the server runs and takes connections.
    pub fn is_up(&self) -> bool {
        self.server.is_up()
    }

    /// Starts the server again on its data and port.
    pub async fn start(&mut self) {
        let mut server = self.server.clone();
        let started = tokio::task::spawn_blocking(move || {
            server.start();
            server
        });
        self.server = started.await.expect("starting Postgres");
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.server.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_replaces_that_of_a_given_url() {
        let of = |server: &str| {
            let database = Database { server: server.to_owned(), name: "mine".to_owned() };
            let url = database.url();
            std::mem::forget(database);
            url
        };
        assert_eq!(of("postgres://me:x@db:5432/app?sslmode=require"), {
            "postgres://me:x@db:5432/mine?sslmode=require"
        });
        assert_eq!(of("postgres://db"), "postgres://db/mine");
    }

    #[tokio::test]
    async fn each_test_has_a_database_of_its_own() {
        let (one, other) = tokio::join!(database(), database());
        assert_ne!(one.url(), other.url());
        run(&one.url(), "CREATE TABLE t (a int)").await.expect("a table");
        run(&other.url(), "CREATE TABLE t (a int)").await.expect("a table of the same name");
        let url = one.url();
        drop(one);
        run(&url, "SELECT 1").await.expect_err("it is gone");
    }

    #[tokio::test]
    async fn a_private_server_keeps_what_was_committed_through_a_kill() {
        let mut server = Private::launch().await;
        run(&server.url(), "CREATE TABLE t (a int)").await.expect("a table");
        server.kill9().await;
        run(&server.url(), "SELECT 1").await.expect_err("nobody listens");
        server.start().await;
        run(&server.url(), "INSERT INTO t VALUES (1)").await.expect("the table is still there");
        server.stop().await;
    }
}
