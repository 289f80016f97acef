//! One Postgres server of our own: its folder, its port, and how it is started and ended.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};

use super::disks::Disks;
use super::process::{
    User, alive, end, find_binary, free_port, fresh_dir, listens, note_pids, signal,
    spawn_detached, unprivileged, wait_until,
};

const MISSING: &str = "Postgres is not installed: `apt-get install postgresql`, or give a \
                       database's URL in KNARR_TEST_DATABASE_URL";

/// Runs one statement on a connection of its own.
pub(super) async fn run(server: &str, statement: &str) -> Result<(), sqlx::Error> {
    let patience = Duration::from_secs(20);
    let work = async {
        let mut connection = PgConnection::connect(server).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut connection).await?;
        connection.close().await
    };
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done,
        Err(_) => Err(sqlx::Error::Protocol(format!("no answer within {patience:?}"))),
    }
}

/// Everything needed to find a server of ours again from another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Server {
    dir: PathBuf,
    bin: PathBuf,
    port: u16,
    pub(super) pid: u32,
    /// The disks that only it sees, if it has some.
    #[serde(default)]
    disks: Option<Disks>,
}

impl Server {
    /// Makes a fresh cluster, starts it and waits until it takes connections.
    pub(super) fn start_new() -> Server {
        Server::start_in(fresh_dir("postgres"), None)
    }

    /// The same, with its log on a small disk of its own, and another one for data.
    pub(super) fn start_on_small_disks() -> Server {
        let dir = fresh_dir("postgres");
        let disks = Disks::mount(&dir, unprivileged());
        Server::start_in(dir, Some(disks))
    }

    fn start_in(dir: PathBuf, disks: Option<Disks>) -> Server {
        let mut server = Server { dir, bin: bin(), port: free_port(), pid: 0, disks };
        if let Some(User { uid, gid }) = unprivileged() {
            std::os::unix::fs::chown(&server.dir, Some(uid), Some(gid)).expect("we are root");
        }
        let data = server.data();
        let mut arguments = vec!["-D", &data, "-U", "knarr", "-A", "trust", "-E", "UTF8"];
        arguments.extend(["--locale=C", "--no-sync"]);
        let log = server.disks.as_ref().map(Disks::log_folder).unwrap_or_default();
        if server.disks.is_some() {
            arguments.extend(["--wal-segsize=1", "--waldir", &log]);
        }
        server.run("initdb", &arguments);
        server.start();
        server
    }

    /// A standby of this server, which follows it until it is promoted.
    pub(super) fn start_standby(&self) -> Server {
        let dir = fresh_dir("postgres");
        if let Some(User { uid, gid }) = unprivileged() {
            std::os::unix::fs::chown(&dir, Some(uid), Some(gid)).expect("we are root");
        }
        let mut standby =
            Server { dir, bin: self.bin.clone(), port: free_port(), pid: 0, disks: None };
        let (data, port) = (standby.data(), self.port.to_string());
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", "knarr", "-D", &data];
        let how = ["-R", "-X", "stream", "-c", "fast", "--no-sync"];
        standby.run("pg_basebackup", &[&from[..], &how[..]].concat());
        standby.start();
        standby
    }

    fn data(&self) -> String {
        self.dir.join("data").to_string_lossy().into_owned()
    }

    /// Runs one of Postgres' programs to its end, as the user that the server runs as.
    fn run(&self, program: &str, arguments: &[&str]) {
        let path = self.bin.join(program).to_string_lossy().into_owned();
        let (prefix, user) = self.entry();
        let words: Vec<&str> = prefix.iter().map(String::as_str).chain([path.as_str()]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(arguments).current_dir(&self.dir);
        if let Some(User { uid, gid }) = user {
            command.uid(uid).gid(gid);
        }
        let output = command.output().expect(MISSING);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} failed: {said}");
    }

    /// What stands before a command of this server's, and the user to start that as.
    fn entry(&self) -> (Vec<String>, Option<User>) {
        match &self.disks {
            Some(disks) => (disks.entry(unprivileged()), None),
            None => (Vec::new(), unprivileged()),
        }
    }

    /// The disks that only it sees.
    pub(super) fn disks(&self) -> Option<&Disks> {
        self.disks.as_ref()
    }

    /// Where clients connect, to the database that every cluster has.
    pub(super) fn url(&self) -> String {
        format!("postgres://knarr@127.0.0.1:{}/postgres", self.port)
    }

    /// The folder that holds everything of this server.
    pub(super) fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// Whether the server runs and takes connections.
    pub(super) fn is_up(&self) -> bool {
        alive(self.pid) && listens(self.port)
    }

    /// Starts the server on its data and port, and waits until it takes statements.
    pub(super) fn start(&mut self) {
        let program = self.bin.join("postgres").to_string_lossy().into_owned();
        let (data, port) = (self.data(), self.port.to_string());
        let (prefix, user) = self.entry();
        let mut command: Vec<&str> = prefix.iter().map(String::as_str).collect();
        command.extend([program.as_str(), "-D", &data, "-p", &port]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=on",
            "synchronous_commit=on",
            "max_connections=200",
            "shared_buffers=64MB",
        ] {
            command.extend(["-c", setting]);
        }
        if self.disks.is_some() {
            command.extend(["-c", "min_wal_size=2MB", "-c", "max_wal_size=8MB"]);
        }
        let log = self.dir.join("out");
        // After a kill the last backends may still be ending, and the new server refuses to start.
        for _attempt in 0..20 {
            self.pid = spawn_detached(&command, &[], user, &log).expect(MISSING);
            let pid = self.pid;
            let holder = self.disks.as_ref().map(Disks::holder);
            note_pids(&self.dir, &[&[pid], holder.as_slice()].concat());
            wait_until(Duration::from_secs(60), || !alive(pid) || self.takes_statements());
            if alive(pid) {
                return;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        let tail: Vec<_> = said.lines().rev().take(10).collect();
        panic!("Postgres did not start in {}:\n{}", self.dir.display(), tail.join("\n"));
    }

    fn takes_statements(&self) -> bool {
        if !listens(self.port) {
            return false;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.is_ok_and(|runtime| runtime.block_on(run(&self.url(), "SELECT 1")).is_ok())
    }

    /// Ends the server in an orderly way (fast shutdown); its data stay.
    pub(super) fn stop(&self) {
        end(self.pid, "INT", Duration::from_secs(30));
    }

    /// Ends the server as `pg_ctl stop -m immediate` does: it recovers when it starts again.
    pub(super) fn stop_at_once(&self) {
        end(self.pid, "QUIT", Duration::from_secs(30));
    }

    /// Ends the server and removes everything that it left.
    pub(super) fn remove(&self) {
        signal(self.pid, "CONT");
        // Immediate shutdown: it takes its own processes with it.
        end(self.pid, "QUIT", Duration::from_secs(10));
        if let Some(disks) = &self.disks {
            end(disks.holder(), "KILL", Duration::from_secs(5));
        }
        let _best_effort = fs::remove_dir_all(&self.dir);
    }
}

/// The folder of the newest Postgres' programs.
fn bin() -> PathBuf {
    let initdb = find_binary(&initdb_candidates(), "initdb").expect(MISSING);
    let initdb = fs::canonicalize(initdb).expect("a file that exists");
    initdb.parent().expect("a file has a folder").to_owned()
}

fn initdb_candidates() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/initdb"))
        .collect();
    // The newest first; folders are named by their major version.
    found.sort_by_key(|path| {
        let version = path.iter().rev().nth(2).and_then(|name| name.to_str()?.parse().ok());
        std::cmp::Reverse(version.unwrap_or(0u32))
    });
    found
}
