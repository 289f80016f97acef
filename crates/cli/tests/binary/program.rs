//! Runs the binary in a folder of its own, with nothing of this machine's settings.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// No wait takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What is wrong from the start is told by then.
const SOON: Duration = Duration::from_secs(10);

/// What a verb that has ended said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The binary, not started yet.
pub(crate) fn knarr(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knarr"));
    command.current_dir(folder).args(arguments);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let ours = ["KNARR_", "VIRUSTOTAL_", "SAFE_BROWSING_", "URL_SCAN_"];
        if ours.iter().any(|start| name.starts_with(start)) {
            command.env_remove(&*name);
        }
    }
    command
}

/// Runs a verb to its end.
pub(crate) fn said(mut command: Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("the binary runs");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// As [`said`] of a verb that ends at once; ended if it does not.
pub(crate) fn said_soon(mut command: Command) -> Said {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let began = now();
    while child.try_wait().expect("our own child").is_none() && began.elapsed() < SOON {
        pause();
    }
    // Of no consequence for one that has ended.
    let _ended = child.kill();
    let output = child.wait_with_output().expect("its output");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A verb that goes on until it is told to stop; killed if the test fails.
pub(crate) struct Running {
    child: Child,
    heard: Arc<Mutex<String>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().expect("the binary starts");
        let heard: Arc<Mutex<String>> = Arc::default();
        listen(child.stdout.take().expect("piped"), heard.clone());
        listen(child.stderr.take().expect("piped"), heard.clone());
        Running { child, heard }
    }

    /// Everything it said so far.
    pub(crate) fn heard(&self) -> String {
        self.heard.lock().expect("lock").clone()
    }

    /// What follows `start` in its line, once it was said.
    pub(crate) fn told(&mut self, start: &str) -> String {
        let began = now();
        loop {
            let heard = self.heard();
            if let Some((_, after)) = heard.split_once(start)
                && let Some((line, _)) = after.split_once('\n')
            {
                return line.trim().to_owned();
            }
            let ended = self.child.try_wait().expect("it can be waited for");
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "no `{start}` in:\n{heard}");
            pause();
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().expect("kill is there");
        assert!(sent.success());
    }

    /// How it ended, and how long that took from now.
    pub(crate) fn end(mut self) -> (ExitStatus, Duration, String) {
        let began = now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return (status, began.elapsed(), self.heard());
            }
            assert!(began.elapsed() < PATIENCE, "it does not end:\n{}", self.heard());
            pause();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already when all went well.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn listen(mut stream: impl Read + Send + 'static, heard: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 {
                return;
            }
            heard.lock().expect("lock").push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "a test waits for another process in real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a test waits for another process in real time")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
