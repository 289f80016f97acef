//! Every setting with values that nobody can use: one line that names it, exit 2, and no secret.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::program::{knarr, said_soon};

/// Stands in every secret; must stand nowhere else.
const CANARY: &str = "c4nary-s3cret";

/// A case: a setting, a value that nobody can use, and what else is set beside it.
struct Case {
    name: &'static str,
    value: OsString,
    verb: &'static str,
    beside: Vec<(&'static str, String)>,
}

fn case(name: &'static str, value: impl Into<OsString>) -> Case {
    Case { name, value: value.into(), verb: "serve", beside: Vec::new() }
}

impl Case {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Case {
        self.beside.push((name, value.into()));
        self
    }

    fn of(mut self, verb: &'static str) -> Case {
        self.verb = verb;
        self
    }
}

const AMQP: &str = "amqp://127.0.0.1:9";
const POSTGRES: &str = "postgres://127.0.0.1:9/knarr";

/// Wrong in a way that no value of that kind may be.
fn typed() -> Vec<Case> {
    const WHOLE: &[&str] = &[
        "KNARR_MAX_BODY",
        "KNARR_LANES",
        "KNARR_MAX_BATCH",
        "KNARR_PREFETCH",
        "KNARR_MAX_CALLS",
        "KNARR_OUTBOX_CAP",
        "KNARR_OUTBOX_BYTES",
        "KNARR_PARKED_CAP",
        "KNARR_BREAKER_WINDOW",
        "KNARR_BREAKER_FAILURES",
        "KNARR_BREAKER_INSTANCES",
        "KNARR_CRASH_BUDGET",
    ];
    const TIMES: &[&str] = &[
        "KNARR_DECIDE_DEADLINE",
        "KNARR_DRAIN",
        "KNARR_JOURNAL_RETENTION",
        "KNARR_FINISHED_RETENTION",
        "KNARR_LINGER",
        "KNARR_BREAKER_WITHIN",
        "KNARR_BREAKER_RESTART_AFTER",
        "KNARR_LEASE",
        "KNARR_CRASH_WATCH",
        "KNARR_CRASH_SPACING",
        "VIRUSTOTAL_POLL_INTERVAL",
        "VIRUSTOTAL_FRESH_FOR",
        "URL_SCAN_DEADLINE",
    ];
    const WORDS: &[&str] = &[
        "KNARR_LOG_FORMAT",
        "KNARR_QUEUE",
        "KNARR_DECLARE",
        "KNARR_WITHOUT_ID",
        "KNARR_PUBLISH_FAULTS",
        "KNARR_MIRROR_ERRORS",
        "KNARR_BREAKER",
        "SAFE_BROWSING_VERSION",
    ];
    let mut all = Vec::new();
    for name in WHOLE {
        for value in ["0", "-1", "1.5", "many", "99999999999999999999", "1e3", "0x10"] {
            all.push(case(name, value));
        }
    }
    for name in TIMES {
        for value in ["5", "soon", "-1s", "99999999999999999d", "1s 1s", "١s"] {
            all.push(case(name, value));
        }
    }
    for name in WORDS {
        for value in ["perhaps", "TRUE ", "QUORUM", "1"] {
            all.push(case(name, value));
        }
    }
    all
}

/// Wrong in a way of their own.
fn special(folder: &Path) -> Vec<Case> {
    let path = |name: &str| folder.join(name).to_str().expect("text").to_owned();
    std::fs::write(path("a-file"), "here\n").expect("written");
    std::fs::write(path("broken.toml"), format!("store = \"{CANARY}\" {CANARY}\n"))
        .expect("written");
    std::fs::write(path("strange.toml"), format!("brokr = \"{CANARY}\"\n")).expect("written");
    std::fs::write(path("tokens"), format!("anna boss {CANARY}\n")).expect("written");
    let pem = |what: &str| format!("-----BEGIN {what}-----\n{CANARY}\n-----END {what}-----\n");
    let tls = |case: Case| case.with("KNARR_BROKER", "amqps://127.0.0.1:9");
    let there = |case: Case| case.with("KNARR_BROKER", AMQP);
    let mut all = vec![
        case("KNARR_CONFIG", path("nowhere.toml")),
        case("KNARR_CONFIG", path("")),
        case("KNARR_CONFIG", path("broken.toml")),
        tls(case("KNARR_BROKER_CA", CANARY)),
        tls(case("KNARR_BROKER_CA", pem("CERTIFICATE"))),
        tls(case("KNARR_BROKER_CERTIFICATE", CANARY).with("KNARR_BROKER_KEY", pem("PRIVATE KEY"))),
        tls(case("KNARR_BROKER_KEY", CANARY).with("KNARR_BROKER_CERTIFICATE", pem("CERTIFICATE"))),
        there(case("KNARR_SCHEMA", "No schema").with("KNARR_STORE", POSTGRES)),
        there(case("KNARR_SCHEMA", "k".repeat(64)).with("KNARR_STORE", POSTGRES)),
        there(case("KNARR_STORE_CONNECTIONS", "0").with("KNARR_STORE", POSTGRES)),
        there(case("KNARR_STORE_CONNECTIONS", "many").with("KNARR_STORE", POSTGRES)),
        case("KNARR_DATA_DIR", path("a-file")),
        case("KNARR_LISTEN", "7300"),
        case("KNARR_LISTEN", "127.0.0.1:99999"),
        case("KNARR_LISTEN", "203.0.113.1:7300").with("KNARR_ADMIN_TOKEN", "0123456789abcdef"),
        case("KNARR_ADMIN_TOKEN", "short"),
        case("KNARR_ADMIN_TOKEN", format!("{CANARY}-{CANARY}-é")),
        case("KNARR_ADMIN_TOKEN", format!("{CANARY} {CANARY}")),
        case("KNARR_TOKENS", path("nowhere")),
        case("KNARR_TOKENS", path("tokens")),
        case("KNARR_LOG", "info,=x"),
        case("KNARR_LOG", "knarr=loud"),
        case("KNARR_HTTP_ALLOW", "10.0.0.0/99"),
        case("KNARR_HTTP_ALLOW", "a/b"),
        case("KNARR_SERVER", "nonsense").of("sagas").with("KNARR_TOKEN", "0123456789abcdef"),
        case("KNARR_SERVER", format!("http://me:{CANARY}@127.0.0.1:9"))
            .of("sagas")
            .with("KNARR_TOKEN", "0123456789abcdef"),
        case("KNARR_TOKEN", "short").of("sagas"),
        case("KNARR_TOKEN", format!("{CANARY}\n{CANARY}")).of("sagas"),
        case("VIRUSTOTAL_QUOTA", "plenty"),
        case("VIRUSTOTAL_QUOTA", "4/fortnight"),
        case("VIRUSTOTAL_API_KEY", format!("{CANARY}\n{CANARY}")),
        case("SAFE_BROWSING_API_KEY", format!("{CANARY}\u{7}")),
    ];
    for value in [
        "http://me:c4nary-s3cret@h",
        "embedded:x",
        "amqp:me:c4nary-s3cret@h",
        "amqp://me:c4nary-s3cret@h:port/v",
        "amqp://me:c4nary-s3cret@h:99999/v",
        "amqp://me:c4nary-s3cret@/v",
        "amqp://me:c4nary-s3cret@one:1,two:port/v",
        "amqp://me:c4nary-s3cret@h/v?heartbeat=c4nary-s3cret",
    ] {
        all.push(case("KNARR_BROKER", value));
    }
    for value in [
        "mysql://me:c4nary-s3cret@h/db",
        "sqlite:",
        "postgres:me:c4nary-s3cret@h/db",
        "postgres://me:c4nary-s3cret@h:port/db",
        "postgres://me:c4nary-s3cret@h:99999/db",
        "postgres://me:c4nary-s3cret@h/db?sslmode=c4nary-s3cret",
        "postgres://me:c4nary-s3cret@[::1/db",
    ] {
        all.push(there(case("KNARR_STORE", value)));
    }
    for name in ["VIRUSTOTAL_URL", "SAFE_BROWSING_URL"] {
        for value in [
            "nonsense",
            "ftp://h",
            "http://127.0.0.1:1/api/v3",
            "http://me:c4nary-s3cret@h",
            "http://h:port",
        ] {
            all.push(case(name, value));
        }
    }
    all
}

/// Those of OpenTelemetry, which are looked at when there is a collector.
fn otlp() -> Vec<Case> {
    const COLLECTOR: &str = "http://127.0.0.1:9";
    let mut all = Vec::new();
    for name in [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    ] {
        for value in ["nonsense", "ftp://h", "http://me:c4nary-s3cret@h:port", "http://"] {
            all.push(case(name, value));
        }
    }
    for (name, values) in [
        ("OTEL_EXPORTER_OTLP_HEADERS", ["c4nary-s3cret", "key=%c4nary-s3cret", "=c4nary-s3cret"]),
        ("OTEL_RESOURCE_ATTRIBUTES", ["prod", "=prod", "site=%x"]),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", ["grpc", "http/json", "1"]),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", ["0", "10s", "-1"]),
        ("OTEL_TRACES_EXPORTER", ["jaeger", "console", "1"]),
        ("OTEL_METRICS_EXPORTER", ["prometheus", "console", "1"]),
        ("OTEL_TRACES_SAMPLER", ["sometimes", "traceIdRatio", "1"]),
        ("OTEL_BSP_MAX_QUEUE_SIZE", ["0", "many", "99999999999999999999"]),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", ["0", "-1", "1.5"]),
        ("OTEL_BSP_SCHEDULE_DELAY", ["0", "5s", "-1"]),
        ("OTEL_METRIC_EXPORT_INTERVAL", ["0", "1m", "many"]),
    ] {
        for value in values {
            all.push(case(name, value).with("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR));
        }
    }
    for value in ["2", "-0.1", "half", "NaN"] {
        let share =
            case("OTEL_TRACES_SAMPLER_ARG", value).with("OTEL_TRACES_SAMPLER", "traceidratio");
        all.push(share.with("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR));
    }
    all
}

/// The names in the reference, whose truth another test keeps.
fn every_setting() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let name = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    page.lines().filter_map(name).collect()
}

/// What is wrong with what the binary said of a case.
fn judged(folder: &Path, case: &Case) -> Option<String> {
    let Case { name, value, verb, beside } = case;
    let mut command = knarr(folder, &[verb]);
    if !matches!(*name, "KNARR_LISTEN") {
        command.env("KNARR_LISTEN", "127.0.0.1:0");
    }
    command.envs(beside.iter().map(|(name, value)| (name, value))).env(name, value);
    let said = said_soon(command);
    let lines: Vec<&str> = said.err.lines().collect();
    // Where a file or a line of one is meant, the setting that names it is named.
    let named = matches!(&*lines, [line] if line.starts_with("error: ") && line.contains(name));
    let quiet = said.out.is_empty() && !said.err.contains(CANARY);
    (said.code != 2 || !named || !quiet).then(|| format!("{name}={value:?}: {said:?}"))
}

#[test]
fn s0_06_every_setting_with_a_wrong_value_is_one_line_that_names_it_and_exit_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cases = typed();
    cases.extend(special(folder.path()));
    cases.extend(otlp());
    // None of them is text.
    let bytes = || OsString::from_vec(vec![b'x', 0xff]);
    let some = ["KNARR_STORE", "KNARR_LANES", "SAFE_BROWSING_URL"];
    // Any text does for these.
    let any = ["OTEL_SERVICE_NAME", "OTEL_SDK_DISABLED"];
    cases.extend(some.into_iter().chain(any).map(|name| case(name, bytes())));
    let covered: BTreeSet<String> = cases.iter().map(|case| case.name.to_owned()).collect();
    assert_eq!(covered, every_setting(), "every setting has wrong values here");
    let wrong: Vec<String> = cases.iter().filter_map(|case| judged(folder.path(), case)).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn s0_06_wrong_values_are_told_the_same_from_flags_and_from_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    for flags in [
        &["serve", "--set", "KNARR_LANES=none"] as &[&str],
        &["serve", "--set", "KNARR_LANES"],
        &["serve", "--set", "KNARR_NOTHING=1"],
        &["serve", "--listen", "here"],
        &["migrate", "--store", "mysql://me:c4nary-s3cret@h"],
        &["check", "--broker", "http://me:c4nary-s3cret@h"],
    ] {
        let told = said_soon(knarr(folder.path(), flags));
        assert_eq!(told.code, 2, "{flags:?}: {told:?}");
        assert!(!told.err.contains(CANARY) && told.out.is_empty(), "{flags:?}: {told:?}");
        assert!(told.err.starts_with("error: "), "{flags:?}: {told:?}");
    }
    let file = folder.path().join("knarr.toml");
    for (text, named) in [
        ("lanes = \"none\"", "KNARR_LANES"),
        ("lanes = -3", "KNARR_LANES"),
        ("lanes = 1.5", "`lanes`"),
        ("breaker = \"yes\"", "KNARR_BREAKER"),
        ("brokr = \"c4nary-s3cret\"", "`brokr`"),
        ("store = \"postgres://me:c4nary-s3cret@h:port/db\"\nbroker = \"amqp://h\"", "KNARR_STORE"),
        ("admin_token_file = \"/nowhere/token\"", "KNARR_ADMIN_TOKEN_FILE"),
        ("admin_token = \"c4nary-s3cret\" \"x", "KNARR_CONFIG"),
    ] {
        std::fs::write(&file, text).expect("written");
        let told = said_soon(knarr(folder.path(), &["serve"]));
        let lines: Vec<&str> = told.err.lines().collect();
        let clear = matches!(&*lines, [line] if line.contains(named));
        assert!(told.code == 2 && clear && !told.err.contains(CANARY), "{text}: {told:?}");
    }
}
