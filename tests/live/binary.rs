//! The `knarr` binary, built once: from the same artifacts as the tests, wherever they lie.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Where the binary is. `KNARR_TEST_BINARY` names another one, such as a release build.
pub(crate) fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("KNARR_TEST_BINARY") {
        Some(given) => PathBuf::from(given),
        None => build(),
    })
}

/// The whole workspace's features are those that the tests were built with: little is left to build.
fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--workspace", "--bin", "knarr"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    build.current_dir(knarr_tests::source::root());
    let output = build.output().expect("cargo can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the binary cannot be built:\n{said}");
    let lines = String::from_utf8(output.stdout).expect("cargo's messages are text");
    let messages = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
    let named = |message: serde_json::Value| {
        let ours = message["target"]["name"] == "knarr" && message["target"]["kind"][0] == "bin";
        ours.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    };
    messages.filter_map(named).next_back().expect("cargo tells where it put the binary")
}
