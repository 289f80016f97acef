//! What the outside crate proves: its story, `check`, and `serve` on the embedded default.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::{Project, text};

/// No wait takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn s0_09_a_crate_with_knarr_alone_defines_checks_tests_and_serves_a_saga() {
    let project = Project::write();
    let told = project.test();
    assert!(told.contains("1 passed"), "its story was not run: {told}");
    let program = project.program();

    let checked = command(&program, project.path()).arg("check").output().expect("runs");
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    assert_eq!(text(&checked.stdout).trim(), "word-count: nothing is wrong");

    let mut serving = command(&program, project.path());
    serving.args(["serve", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped());
    let mut serving = Serving::start(serving);
    let server = serving.address();
    let ask = |arguments: &[&str]| {
        let mut verb = command(&program, project.path());
        verb.args(arguments).args(["--server", &server]);
        verb.output().expect("runs")
    };
    let id = "6f0b6a1e-7d3f-4a52-8f38-1c6f3f9f6f01";
    let message = format!(r#"{{"correlation_id":"{id}","text":"one two three"}}"#);
    let sent = within(|| {
        let sent = ask(&["publish", "WordShop:CountThis", &message]);
        sent.status.success().then_some(sent).ok_or("the message is not taken")
    });
    assert!(text(&sent.stdout).contains("urn:message:WordShop:CountThis"));
    let shown = within(|| {
        let shown = text(&ask(&["instances", "show", "word-count", id, "--json"]).stdout);
        shown.contains("\"state\":\"Final\"").then_some(shown).ok_or("the saga has not ended")
    });
    assert!(shown.contains("done CountWords"), "{shown}");
    serving.stop();
}

/// The program, with nothing of this machine's settings.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KNARR_") {
            command.env_remove(name);
        }
    }
    command
}

/// Tries until it works.
fn within<T>(mut attempt: impl FnMut() -> Result<T, &'static str>) -> T {
    let began = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) => assert!(began.elapsed() < PATIENCE, "{why}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The server as a child process; killed if the test fails.
struct Serving {
    child: Child,
    said: String,
}

impl Serving {
    fn start(mut command: Command) -> Serving {
        Serving { child: command.spawn().expect("it starts"), said: String::new() }
    }

    /// Where the admin API listens, as its log tells.
    fn address(&mut self) -> String {
        let log = self.child.stderr.as_mut().expect("piped");
        let began = Instant::now();
        let mut byte = [0];
        while began.elapsed() < PATIENCE && log.read(&mut byte).expect("readable") == 1 {
            self.said.push(char::from(byte[0]));
            if byte[0] == b'\n'
                && let Some((_, after)) = self.said.split_once("admin API: ")
            {
                return after.lines().next().unwrap_or_default().to_owned();
            }
        }
        panic!("it does not listen:\n{}", self.said)
    }

    /// Asks it to stop, as an operating system does.
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there");
        assert!(asked.success());
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                assert!(status.success(), "{status}");
                assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
                return;
            }
            assert!(began.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Gone already when all went well.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
