//! Failpoints: every step is passed by the product, and a release build has nothing of them.

use std::path::Path;
use std::process::{Command, Output};

use knarr_tests::source;

use crate::repo::must_be_none;

/// The file in which they are all of what they are; it needs nothing but the standard library.
const FAILPOINT: &str = "crates/model/src/failpoint.rs";
/// What the armed program ends with when a step is passed.
const HEARD: i32 = 3;

/// Compiles a program around the file; `release` as cargo's profile of this name compiles it.
fn compile(main: &str, release: bool, to: &Path) -> Output {
    let file = source::root().join(FAILPOINT);
    let text = format!("#[path = {:?}]\nmod failpoint;\n{main}\n", file.display().to_string());
    let source = to.with_extension("rs");
    std::fs::write(&source, text).expect("our own folder");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--cap-lints", "allow", "-o"]).arg(to).arg(&source);
    if release {
        rustc.args(["-C", "opt-level=3"]);
    }
    rustc.output().expect("rustc can be run")
}

fn compiles(main: &str, release: bool, to: &Path) {
    let output = compile(main, release, to);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_release_build_has_no_failpoints() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("program");
    let armed = format!("failpoint::arm(|_| std::process::exit({HEARD}));");
    let passes = "failpoint::pass(failpoint::Step::Received);";
    let code = || Command::new(&program).status().expect("it runs").code();

    compiles(&format!("fn main() {{ {armed} {passes} }}"), false, &program);
    assert_eq!(code(), Some(HEARD), "an armed test build does not hear of a pass");
    let cautious = format!("fn main() {{ #[cfg(debug_assertions)] {armed} {passes} }}");
    compiles(&cautious, true, &program);
    assert_eq!(code(), Some(0), "a release build heard of a pass");
    // Who would arm it is not compiled either, or the whole build fails.
    let output = compile(&format!("fn main() {{ {armed} }}"), true, &program);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("arm"), "it can be armed: {said}");
}

#[test]
fn the_release_profile_leaves_debug_assertions_off() {
    let manifest = std::fs::read_to_string(source::root().join("Cargo.toml")).expect("ours");
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let on = line.starts_with("debug-assertions") && !line.contains("false");
        assert!(!(on && section.starts_with("[profile")), "{section} `{line}` arms failpoints");
    }
}

/// A step that nobody passes would make its tests wait in vain; one passed in two places would make
/// them mean two things.
#[test]
fn every_step_is_passed_in_one_place() {
    let root = source::root();
    let steps = std::fs::read_to_string(root.join(FAILPOINT)).expect("it is there");
    let names = steps.lines().filter_map(|line| line.trim().strip_suffix("\","));
    let names: Vec<&str> = names.filter_map(|line| Some(line.split_once(" = \"")?.0)).collect();
    assert!(names.len() >= 15, "the steps are not found: {names:?}");
    let texts: Vec<String> = ["engine", "postgres", "rabbitmq"]
        .iter()
        .flat_map(|name| rust_files(&root.join("crates").join(name).join("src")))
        .collect();
    let passes = |name: &str| -> usize {
        let (one, other) = (format!("Step::{name})"), format!("Step::{name},"));
        texts.iter().map(|text| text.matches(&one).count() + text.matches(&other).count()).sum()
    };
    let findings: Vec<String> = names
        .iter()
        .map(|name| (name, passes(name)))
        .filter(|(_, places)| *places != 1)
        .map(|(name, places)| format!("step {name} is passed in {places} places, not in one."))
        .collect();
    must_be_none(&findings);
}

fn rust_files(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            texts.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            texts.push(std::fs::read_to_string(&path).expect("text"));
        }
    }
    texts
}
