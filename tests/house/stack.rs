//! The container stack asks only for what is there: settings, passwords, files.

use std::collections::BTreeSet;

use knarr_tests::source;

use crate::repo::must_be_none;

fn text(path: &str) -> String {
    std::fs::read_to_string(source::root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// Names after `start` in lines that are no comments: `${RABBITMQ_PASSWORD:?…}`.
fn names(text: &str, start: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let name = |rest: &str| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        rest[..end.unwrap_or(rest.len())].to_owned()
    };
    lines.flat_map(|line| line.split(start).skip(1).map(name)).collect()
}

/// What `.env.sample` sets or, as a comment, shows.
fn sampled(sample: &str) -> BTreeSet<String> {
    let lines = sample.lines().map(|line| line.trim_start_matches('#'));
    let name = |line: &str| line.split_once('=').map(|(name, _)| name.to_owned());
    lines.filter_map(name).filter(|name| !name.contains(' ')).collect()
}

/// Settings that containers get: `      KNARR_LOG: "…"`.
fn settings(stack: &str) -> Vec<&str> {
    const OURS: &[&str] = &["KNARR_", "VIRUSTOTAL_", "SAFE_BROWSING_", "URL_SCAN_", "OTEL_"];
    let keys = stack.lines().filter_map(|line| Some(line.trim_start().split_once(": ")?.0));
    keys.filter(|key| OURS.iter().any(|start| key.starts_with(start))).collect()
}

#[test]
fn every_variable_of_the_stack_is_in_the_sample_and_every_password_has_a_value_there() {
    let (stack, sample) = (text("docker-compose.yml"), text(".env.sample"));
    let (asked, shown) = (names(&stack, "${"), sampled(&sample));
    assert!(asked.contains("RABBITMQ_PASSWORD"), "{asked:?}");
    let mut found: Vec<String> = asked
        .difference(&shown)
        // Fine tuning of a run: what they do stands in docs/configuration.md.
        .filter(|name| !text("docs/configuration.md").contains(&format!("| `{name}` |")))
        .map(|name| format!(".env.sample: {name} is asked for by docker-compose.yml"))
        .collect();
    for name in asked.iter().filter(|name| stack.contains(&format!("${{{name}:?"))) {
        let set =
            |line: &str| line.strip_prefix(&format!("{name}=")).is_some_and(|v| !v.is_empty());
        if !sample.lines().any(set) {
            found.push(format!(".env.sample: {name} must have a value"));
        }
    }
    must_be_none(&found);
}

#[test]
fn every_setting_and_every_file_that_the_stack_names_exists() {
    let (stack, image) = (text("docker-compose.yml"), text("Dockerfile"));
    let reference = text("docs/configuration.md");
    let known = |name: &str| reference.contains(&format!("| `{name}` |"));
    let settings = settings(&stack);
    assert!(settings.len() > 5, "{settings:?}");
    let mut found: Vec<String> = settings
        .iter()
        .filter(|name| !known(name))
        .map(|name| format!("docker-compose.yml: there is no setting {name}"))
        .collect();
    for name in names(&image, "KNARR_").iter().map(|name| format!("KNARR_{name}")) {
        if !known(&name) {
            found.push(format!("Dockerfile: there is no setting {name}"));
        }
    }
    let mounts = stack.lines().filter_map(|line| line.trim_start().strip_prefix("- ./"));
    for path in mounts.filter_map(|mount| Some(mount.split_once(':')?.0)) {
        if !source::root().join(path).is_file() {
            found.push(format!("docker-compose.yml: {path} is mounted and does not exist"));
        }
    }
    must_be_none(&found);
}

#[test]
fn the_stack_stays_valid_for_older_programs_and_asks_the_broker_what_counts() {
    let (stack, image) = (text("docker-compose.yml"), text("Dockerfile"));
    assert!(stack.contains("check_port_connectivity"), "`ping` answers before anybody can connect");
    let old = stack.lines().find(|line| line.starts_with("version:") || line.starts_with("name:"));
    assert_eq!(old, None, "one of Compose 1.29 and v2 does not take it");
    assert!(!image.contains("--mount"), "only BuildKit takes it");
    assert!(image.contains("\nUSER 10001"), "containers do not run as root");
}
