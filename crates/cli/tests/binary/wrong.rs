//! Wrong command lines and settings: exit 2, a line each that names what is wrong.

use crate::program::{knarr, said};

#[test]
fn wrong_settings_are_a_line_each_and_exit_2() {
    let folder = tempfile::tempdir().expect("a folder");
    for verb in [&["serve"] as &[&str], &["migrate"], &["check"], &["diagram", "url-scan"]] {
        let mut command = knarr(folder.path(), verb);
        command.env("KNARR_LISTEN", "here").env("VIRUSTOTAL_QUOTA", "plenty");
        let said = said(command);
        assert_eq!(said.code, 2, "{verb:?}: {said:?}");
        let lines: Vec<&str> = said.err.lines().collect();
        assert_eq!(lines.len(), 2, "{verb:?}: {said:?}");
        assert!(lines[0].starts_with("error: KNARR_LISTEN: `here`"), "{said:?}");
        assert!(lines[1].starts_with("error: VIRUSTOTAL_QUOTA: `plenty`"), "{said:?}");
        assert_eq!(said.out, "");
    }
}

#[test]
fn wrong_command_lines_exit_2_and_help_exits_0() {
    let folder = tempfile::tempdir().expect("a folder");
    for wrong in [&["nonsense"] as &[&str], &["instances", "show"], &["demo", "--no-such"], &[]] {
        assert_eq!(said(knarr(folder.path(), wrong)).code, 2, "{wrong:?}");
    }
    let help = said(knarr(folder.path(), &["--help"]));
    assert_eq!(help.code, 0);
    let verbs = [
        "demo",
        "serve",
        "migrate",
        "sandbox",
        "check",
        "diagram",
        "publish",
        "sagas",
        "instances",
        "endpoints",
        "incidents",
        "quarantine",
        "audit",
        "completions",
    ];
    for verb in verbs {
        assert!(help.out.contains(&format!("  {verb} ")), "{verb}: {}", help.out);
    }
    assert_eq!(said(knarr(folder.path(), &["--version"])).code, 0);
}

#[test]
fn a_server_that_is_not_there_is_told_and_exits_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = knarr(folder.path(), &["sagas", "--server", "http://127.0.0.1:9"]);
    command.env("KNARR_TOKEN", "0123456789abcdef");
    let told = said(command);
    assert_eq!((told.code, told.out.as_str()), (1, ""));
    assert!(told.err.contains("cannot reach http://127.0.0.1:9"), "{told:?}");
    let without = said(knarr(folder.path(), &["sagas"]));
    assert_eq!(without.code, 2);
    assert!(without.err.starts_with("error: KNARR_TOKEN: is not set"), "{without:?}");
}

#[test]
fn a_store_that_is_something_else_is_a_wrong_setting() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("other.db"), "this is no database").expect("written");
    for verb in ["serve", "migrate"] {
        let store = ["--store", "sqlite:other.db", "--listen", "127.0.0.1:0"];
        let said = said(knarr(folder.path(), &[&[verb], &store[..]].concat()));
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("KNARR_STORE: other.db"), "{said:?}");
    }
}

#[test]
fn a_store_without_tables_is_refused_where_migrating_is_not_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let serve = ["serve", "--no-migrate", "--listen", "127.0.0.1:0"];
    let told = said(knarr(folder.path(), &serve));
    assert_eq!(told.code, 2, "{told:?}");
    let clear = |line: &str| line.contains("KNARR_STORE") && line.contains("run `migrate`");
    assert!(told.err.lines().any(clear), "{told:?}");
    assert!(!folder.path().join("knarr-data/knarr.db").exists(), "no file was made");
}

#[test]
fn output_that_nobody_reads_any_more_is_no_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = knarr(folder.path(), &["completions", "bash"]);
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    drop(child.stdout.take());
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{status}");
}
