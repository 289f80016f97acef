//! `submit.py`: the world outside, in Python with pika.

use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use crate::program::{Program, command};
use crate::world::World;

/// A run of the script.
pub(crate) struct Submission {
    program: Program,
}

impl Submission {
    /// Starts it on the world's broker.
    pub(crate) fn start(world: &World, arguments: &[&str]) -> Submission {
        let mut command = command(python());
        let script = knarr_tests::source::root().join("tests/live/submit.py");
        command.arg(script).args(["--broker", &world.broker]).args(arguments);
        command.env("PYTHONDONTWRITEBYTECODE", "1").stdout(Stdio::piped());
        Submission { program: Program::start("submit.py", command, world.folder()) }
    }

    /// Waits for its end and gives its summary.
    pub(crate) async fn ended(mut self) -> (ExitStatus, Value) {
        let mut said = String::new();
        let mut stdout = self.program.child().stdout.take().expect("it is piped");
        stdout.read_to_string(&mut said).await.expect("the script writes text");
        let status = self.program.child().wait().await.expect("our own child");
        let summary = serde_json::from_str(&said);
        (status, summary.unwrap_or_else(|error| panic!("{status}, {error}: {said}")))
    }

    /// Waits for its end; it must be content, having submitted and received this many.
    pub(crate) async fn content(self, count: u64) -> Value {
        let (status, summary) = self.ended().await;
        assert!(status.success(), "{status}: {summary:#}");
        assert_eq!(summary["submitted"], count, "{summary:#}");
        assert_eq!(summary["answered"], count, "{summary:#}");
        println!("submit.py: {summary}");
        summary
    }
}

/// A Python that has pika: the one that tests/run found, else the system's.
fn python() -> String {
    let given = std::env::var("KNARR_TEST_PYTHON").ok().filter(|given| !given.is_empty());
    let python = given.unwrap_or_else(|| "python3".to_owned());
    let import = std::process::Command::new(&python).args(["-c", "import pika"]).output();
    assert!(
        import.is_ok_and(|output| output.status.success()),
        "{python} has no pika: tests/run finds or installs it; or name a Python that has it in \
         KNARR_TEST_PYTHON (pip install -r tests/live/requirements.txt)"
    );
    python
}
