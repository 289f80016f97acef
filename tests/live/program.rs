//! A child process whose output is kept in a file, and which never outlives its test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

/// Lines shown of a program that did not do what the test wanted.
const TAIL: usize = 40;

/// A running program.
pub(crate) struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it with its standard error, and unless `command` says otherwise its output, in
    /// `<name>.log` of `folder`.
    pub(crate) fn start(name: &str, mut command: Command, folder: &Path) -> Program {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).expect("our own folder");
        command.stderr(file).kill_on_drop(true);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Program { name: name.to_owned(), child, log }
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("{} has ended already", self.name))
    }

    /// What it wrote to its standard error so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read(&self.log).map_or_else(
            |error| format!("{}: {error}", self.log.display()),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Kibibytes of memory that are its own at the moment.
    pub(crate) fn memory(&self) -> u64 {
        let pid = self.child.id().unwrap_or_else(|| panic!("{} has ended already", self.name));
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child")
    }

    /// Ends it without warning.
    pub(crate) async fn kill9(&mut self) {
        self.child.kill().await.expect("our own child");
    }

    /// Sends it a signal, by its name without `SIG`: `TERM` asks it to stop.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.id().to_string();
        let kill = Command::new("kill").args([format!("-{name}"), pid]).status().await;
        assert!(kill.expect("kill can be run").success(), "{} cannot be signalled", self.name);
    }

    /// Waits for its end; panics when it does not come.
    pub(crate) async fn end_within(&mut self, patience: Duration) -> ExitStatus {
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => status.expect("our own child"),
            Err(_) => panic!("{} did not end within {patience:?}", self.name),
        }
    }
}

impl Drop for Program {
    /// A failed test shows what its programs said last.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL)..];
            println!("--- {} said last:\n{}", self.name, tail.join("\n"));
        }
    }
}

/// A command that sees nothing of the settings that this machine happens to have.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    const OURS: [&str; 5] = ["KNARR_", "VIRUSTOTAL_", "SAFE_BROWSING_", "URL_SCAN_", "OTEL_"];
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if OURS.iter().any(|ours| text.starts_with(ours)) {
            command.env_remove(&name);
        }
    }
    command
}
