//! The other side of the broker: a real .NET service with MassTransit, if there is one here.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};

use crate::program::{Program, command};
use crate::world::{PATIENCE, World};

/// Where the program is, if it is anywhere.
pub(crate) fn peer() -> Option<PathBuf> {
    let given = std::env::var_os("KNARR_MASSTRANSIT").map(PathBuf::from);
    let beside = knarr_tests::source::root().join("../shared/tools/masstransit/masstransit");
    given.or_else(|| beside.exists().then_some(beside))
}

/// The .NET service: commands in, events out, a line each.
pub(crate) struct Peer {
    program: Program,
    commands: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    pub(crate) async fn start(path: PathBuf, world: &World) -> Peer {
        let mut command = command(path);
        command.arg("peer").arg(&world.broker).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Program::start("masstransit", command, world.folder());
        let commands = program.child().stdin.take().expect("it is piped");
        let stdout = program.child().stdout.take().expect("it is piped");
        let mut peer = Peer { program, commands, events: BufReader::new(stdout).lines() };
        peer.next("ready").await;
        peer
    }

    pub(crate) async fn say(&mut self, command: Value) {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.expect("it listens");
    }

    /// The next event of a kind; a command that failed ends the test.
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
        let next = async {
            loop {
                let line = self.events.next_line().await.expect("text");
                let line = line.unwrap_or_else(|| panic!("the peer ended, no `{kind}` came"));
                let event: Value = serde_json::from_str(&line).expect("a JSON line");
                assert_ne!(event["event"], "failed", "{event:#}");
                if event["event"] == kind {
                    return event;
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, next).await;
        waited.unwrap_or_else(|_| panic!("no `{kind}` came from the peer in {PATIENCE:?}"))
    }

    pub(crate) async fn stop(mut self) {
        self.say(json!({ "do": "stop" })).await;
        self.program.end_within(PATIENCE).await;
    }
}
