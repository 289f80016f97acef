//! Where values come from, which one counts, and what is said about wrong ones.

use std::collections::BTreeMap;
use std::path::Path;

use super::found::Asked;
use super::typed::{BrokerAt, Config, StoreAt};
use super::*;

const OWN: &[Setting] =
    &[Setting::unset("SHOP_KEY", "A key.").secret(), Setting::new("SHOP_PACE", "20s", "A pace.")];

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn map(pairs: Pairs<'_>) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn values_in(
    folder: &Path,
    set: Pairs<'_>,
    flags: Pairs<'_>,
    environment: Pairs<'_>,
) -> Result<Values, Vec<String>> {
    let known: Vec<Setting> = SETTINGS.iter().chain(OWN).copied().collect();
    let (set, flags, environment) = (map(set), map(flags), map(environment));
    let lookup = |name: &str| environment.get(name).cloned();
    let asked =
        Asked { known: &known, set: &set, flags: &flags, environment: Some(&lookup), folder };
    found(&asked).map_err(|wrongs| wrongs.iter().map(ToString::to_string).collect())
}

/// As [`values_in`], in a folder without a file.
fn values(set: Pairs<'_>, flags: Pairs<'_>, environment: Pairs<'_>) -> Values {
    let folder = tempfile::tempdir().expect("a folder");
    values_in(folder.path(), set, flags, environment).expect("nothing is wrong")
}

fn config(environment: Pairs<'_>) -> Result<Config, Vec<String>> {
    Config::of(&values(&[], &[], environment))
        .map_err(|wrongs| wrongs.iter().map(ToString::to_string).collect())
}

/// The one thing that is wrong.
fn wrong(environment: Pairs<'_>) -> String {
    let wrongs = config(environment).err().expect("something is wrong");
    assert_eq!(wrongs.len(), 1, "{wrongs:?}");
    wrongs.into_iter().next().unwrap_or_default()
}

#[test]
fn code_beats_flags_beat_the_environment_beats_the_file_beats_the_default() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("knarr.toml"), "shop_pace = \"1s\"\nlanes = 3\n")
        .expect("written");
    let pace = |set: Pairs<'_>, flags: Pairs<'_>, environment: Pairs<'_>| {
        let values = values_in(folder.path(), set, flags, environment).expect("right");
        values.text("SHOP_PACE").map(str::to_owned)
    };
    let [one, two, three] = [[("SHOP_PACE", "2s")], [("SHOP_PACE", "3s")], [("SHOP_PACE", "4s")]];
    assert_eq!(pace(&[], &[], &[]).as_deref(), Some("1s"));
    assert_eq!(pace(&[], &[], &one).as_deref(), Some("2s"));
    assert_eq!(pace(&[], &two, &one).as_deref(), Some("3s"));
    assert_eq!(pace(&three, &two, &one).as_deref(), Some("4s"));
    let values = values_in(folder.path(), &[], &[], &[]).expect("right");
    assert_eq!(values.number("KNARR_LANES", 1..=9u8), Ok(3));
    assert_eq!(values.text("KNARR_QUEUE"), Some("quorum"), "a default");
    assert_eq!(pace(&[], &[], &[("SHOP_PACE", "  ")]).as_deref(), Some("1s"), "blank is not set");
}

#[test]
fn a_file_may_be_named_and_must_be_there_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("other.toml");
    let named = path.to_str().expect("text");
    let missing = values_in(folder.path(), &[], &[("KNARR_CONFIG", named)], &[]);
    assert!(missing.expect_err("not there")[0].starts_with("KNARR_CONFIG: cannot read"));
    std::fs::write(&path, "http_allow = [\"10.0.0.0/8\", \"intra\"]\n").expect("written");
    let values = values_in(folder.path(), &[], &[], &[("KNARR_CONFIG", named)]).expect("right");
    assert_eq!(values.text("KNARR_HTTP_ALLOW"), Some("10.0.0.0/8,intra"));
}

#[test]
fn keys_that_do_not_exist_are_told_and_a_broken_file_shows_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("knarr.toml");
    let told = |text: &str| {
        std::fs::write(&path, text).expect("written");
        values_in(folder.path(), &[], &[], &[]).expect_err("wrong").join("\n")
    };
    assert!(told("brokr = \"embedded:\"").contains("`brokr`"));
    assert!(told("KNARR_BROKER = \"embedded:\"").contains("write `broker`"));
    assert!(told("lanes = { a = 1 }").contains("a table is no value"));
    let broken = told("lanes = 1\nadmin_token = \"s3cret-s3cret-s3cret\" x\n");
    assert!(broken.contains("line 2") && !broken.contains("s3cret"), "{broken}");
    let unknown = values_in(folder.path(), &[], &[("NOPE", "1")], &[]).expect_err("no setting");
    assert!(unknown.iter().any(|line| line == "NOPE: there is no such setting"), "{unknown:?}");
}

#[test]
fn s0_06_secrets_may_stand_in_files_and_are_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    std::fs::write(&path, "s3cret\n").expect("written");
    let named = path.to_str().expect("text");
    let read = |environment: Pairs<'_>| values_in(folder.path(), &[], &[], environment);
    let values = read(&[("SHOP_KEY_FILE", named)]).expect("right");
    assert_eq!(values.text("SHOP_KEY"), Some("s3cret"));
    assert!(!format!("{values:?}").contains("s3cret"));
    let both = read(&[("SHOP_KEY", "a"), ("SHOP_KEY_FILE", named)]).expect_err("two");
    assert_eq!(both, ["SHOP_KEY: SHOP_KEY_FILE is set too; one of them is enough"]);
    let gone = read(&[("SHOP_KEY_FILE", "/nowhere/key")]).expect_err("no file");
    assert!(gone[0].starts_with("SHOP_KEY_FILE: cannot read /nowhere/key"), "{gone:?}");
    std::fs::write(&path, "\n").expect("written");
    assert!(read(&[("SHOP_KEY_FILE", named)]).expect_err("empty")[0].contains("is empty"));
    let plain = read(&[("SHOP_PACE_FILE", named)]).expect("only secrets have files");
    assert_eq!(plain.text("SHOP_PACE"), Some("20s"));
    std::fs::write(&path, "from-file").expect("written");
    let toml = format!("shop_key_file = '{named}'\n");
    std::fs::write(folder.path().join("knarr.toml"), toml).expect("written");
    assert_eq!(read(&[]).expect("right").text("SHOP_KEY"), Some("from-file"));
}

#[test]
fn nothing_set_is_the_embedded_default_on_loopback() {
    let config = config(&[]).expect("the defaults of the table are right");
    assert!(matches!(config.broker, BrokerAt::Embedded));
    let StoreAt::Sqlite(path) = &config.store else { panic!("no file") };
    assert_eq!(path, Path::new("knarr-data/knarr.db"));
    assert!(config.listen.ip().is_loopback() && config.token.is_none());
    let usual = knarr_engine::Settings::default();
    assert_eq!(format!("{:?}", config.engine), format!("{usual:?}"), "the table tells the truth");
    let endpoint = config.endpoint("a", Vec::new());
    assert_eq!(usize::from(endpoint.prefetch), usual.lanes * usual.max_batch);
}

#[test]
fn brokers_and_stores_are_known_by_their_scheme() {
    let amqp = ("KNARR_BROKER", "amqp://me:pw@one,two/v");
    let postgres = ("KNARR_STORE", "postgres://me:pw@db/app");
    let config = config(&[amqp, postgres, ("KNARR_SCHEMA", "shop")]).expect("right");
    assert!(matches!(config.broker, BrokerAt::Amqp(url) if url == amqp.1));
    assert!(matches!(config.store, StoreAt::Postgres { schema, .. } if schema == "shop"));
    for (text, path) in
        [("sqlite:a/b.db", "a/b.db"), ("sqlite:/a.db", "/a.db"), ("sqlite:///a.db", "/a.db")]
    {
        let config = self::config(&[("KNARR_STORE", text)]).expect("right");
        assert!(matches!(config.store, StoreAt::Sqlite(found) if found == Path::new(path)));
    }
}

#[test]
fn a_certificate_for_the_broker_needs_its_key_and_the_key_its_certificate() {
    // On the embedded default nobody is asked for it, so that its form is all that is looked at.
    let certificate = ("KNARR_BROKER_CERTIFICATE", "-----BEGIN CERTIFICATE-----");
    let key = ("KNARR_BROKER_KEY", "-----BEGIN PRIVATE KEY-----");
    let config = config(&[certificate, key]).expect("right");
    let identity = config.broker_tls.identity.expect("both are given");
    assert_eq!((&*identity.certificate, &*identity.key), (certificate.1, key.1));
    for (given, missing) in [(certificate, key), (key, certificate)] {
        let told = wrong(&[given]);
        assert_eq!(told, format!("{}: must be set, since {} is", missing.0, given.0));
    }
}

#[test]
fn each_wrong_value_is_one_line_that_names_its_setting_and_no_secret() {
    for (name, text, expected) in [
        ("KNARR_BROKER", "http://me:s3cret@h", "amqp[s]://"),
        ("KNARR_BROKER", "embedded:x", "amqp[s]://"),
        ("KNARR_BROKER", "amqp:me:s3cret@h", "amqp[s]://"),
        ("KNARR_BROKER_CA", "s3cret", "BEGIN CERTIFICATE"),
        ("KNARR_STORE", "mysql://me:s3cret@h", "sqlite:PATH"),
        ("KNARR_STORE", "sqlite:", "sqlite:PATH"),
        ("KNARR_LISTEN", "7300", "127.0.0.1:7300"),
        ("KNARR_ADMIN_TOKEN", "s3cret", "at least 16"),
        ("KNARR_QUEUE", "lazy", "`quorum`, `classic`"),
        ("KNARR_LANES", "0", "from 1 to"),
        ("KNARR_DRAIN", "20s", "between 0 and 8000"),
        ("KNARR_DECIDE_DEADLINE", "5", "no unit"),
        ("KNARR_MAX_BODY", "lots", "whole number"),
        ("KNARR_PREFETCH", "70000", "from 1 to 65535"),
    ] {
        let told = wrong(&[(name, text)]);
        assert!(told.starts_with(&format!("{name}: ")), "{told}");
        assert!(told.contains(expected) && !told.contains("s3cret"), "{told}");
        assert!(!told.contains('\n'), "{told}");
    }
}

#[test]
fn what_does_not_go_together_is_told() {
    let told = wrong(&[("KNARR_STORE", "postgres://db/app")]);
    assert!(told.starts_with("KNARR_BROKER: `embedded:`"), "{told}");
    let told = wrong(&[("KNARR_LISTEN", "0.0.0.0:7300")]);
    assert!(told.starts_with("KNARR_ADMIN_TOKEN: must be set"), "{told}");
    let open = [("KNARR_LISTEN", "0.0.0.0:7300"), ("KNARR_ADMIN_TOKEN", "0123456789abcdef")];
    assert!(config(&open).is_ok());
}

#[test]
fn everything_wrong_is_told_at_once() {
    let wrongs = config(&[("KNARR_LANES", "x"), ("KNARR_LISTEN", "x"), ("KNARR_STORE", "x")]);
    assert_eq!(wrongs.err().expect("wrong").len(), 3);
}

#[test]
fn the_reference_holds_every_setting_once() {
    let page = reference(OWN);
    for setting in SETTINGS.iter().chain(OWN) {
        let row = format!("| `{}` |", setting.name);
        assert_eq!(page.matches(&row).count(), 1, "{}", setting.name);
    }
    assert!(page.contains("| `SHOP_KEY` | `shop_key` | – | A key. *Secret.* |"));
}

#[test]
fn levels_and_forms_of_the_log_are_read() {
    let filter = |text: &str| {
        let (filter, _) = log(&values(&[], &[], &[("KNARR_LOG", text)])).expect("right");
        filter.to_string()
    };
    // The broker's client writes bodies into the log, so it speaks only where it is asked to.
    for text in ["info", "debug", "warn,knarr_engine=debug"] {
        assert!(filter(text).contains("lapin=off"), "{text}: {}", filter(text));
    }
    assert!(!filter("info,lapin=warn").contains("lapin=off"));
    for text in ["lapin", "lapin=trace", "trace,lapin=DEBUG", " lapin::io_loop=5", "lapin[x]=trace"]
    {
        let filter = filter(text);
        let own: Vec<&str> = filter.split(',').filter(|part| part.contains("lapin")).collect();
        assert!(own.iter().all(|part| part.ends_with("=info")), "{text}: {filter}");
    }
    assert!(filter("info,lapin=warn").contains("lapin=warn"));
    let bad = values(&[], &[], &[("KNARR_LOG", "info,=x"), ("KNARR_LOG_FORMAT", "xml")]);
    let told: Vec<String> = log(&bad).expect_err("wrong").iter().map(ToString::to_string).collect();
    assert!(told[0].starts_with("KNARR_LOG: ") && told[1].starts_with("KNARR_LOG_FORMAT: "));
}

#[test]
fn s0_01_each_wrong_line_of_the_token_file_is_told_with_its_file_and_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens");
    let named = path.to_str().expect("text");
    let secret = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    std::fs::write(&path, format!("# ours\nanna operate {secret}\n")).expect("written");
    assert!(config(&[("KNARR_TOKENS", named)]).is_ok());
    std::fs::write(&path, format!("anna boss {secret}\notto read\n")).expect("written");
    let wrongs = config(&[("KNARR_TOKENS", named)]).err().expect("two are wrong");
    assert_eq!(wrongs.len(), 2, "{wrongs:?}");
    for (wrong, line) in wrongs.iter().zip(["line 1: `boss`", "line 2: is not three words"]) {
        assert!(wrong.starts_with(&format!("KNARR_TOKENS: {named}, {line}")), "{wrong}");
        assert!(!wrong.contains(secret), "{wrong}");
    }
    let gone = wrong(&[("KNARR_TOKENS", "/nowhere/tokens")]);
    assert!(gone.starts_with("KNARR_TOKENS: cannot read /nowhere/tokens"), "{gone}");
}

#[test]
fn row_084_the_breaker_faults_mirrors_and_the_wait_of_lanes_are_settings() {
    let set = config(&[
        ("KNARR_LINGER", "0ms"),
        ("KNARR_PUBLISH_FAULTS", "false"),
        ("KNARR_MIRROR_ERRORS", "true"),
        ("KNARR_BREAKER", "false"),
        ("KNARR_BREAKER_WINDOW", "100"),
        ("KNARR_BREAKER_FAILURES", "90"),
        ("KNARR_BREAKER_INSTANCES", "7"),
        ("KNARR_BREAKER_WITHIN", "5m"),
        ("KNARR_BREAKER_RESTART_AFTER", "0s"),
    ]);
    let set = set.map_err(|wrong| wrong.join("\n")).expect("right").engine;
    assert!(set.linger.is_zero() && !set.publish_faults && set.mirror_errors);
    let breaker = set.breaker;
    assert_eq!((breaker.on, breaker.window, breaker.failures), (false, 100, 90));
    assert_eq!((breaker.instances, breaker.within.as_secs()), (7, 300));
    assert_eq!(breaker.restart_after, None, "a person opens it");
}

#[test]
fn figures_of_the_breaker_that_can_never_be_are_told() {
    assert_eq!(
        wrong(&[("KNARR_BREAKER_FAILURES", "41")]),
        "KNARR_BREAKER_FAILURES: 41 of 40 can never be: KNARR_BREAKER_WINDOW is 40"
    );
    assert_eq!(
        wrong(&[("KNARR_BREAKER_INSTANCES", "21")]),
        "KNARR_BREAKER_INSTANCES: 21 of 20 can never be: KNARR_BREAKER_FAILURES is 20"
    );
    assert!(wrong(&[("KNARR_BREAKER_WINDOW", "0")]).contains("no whole number from 1 to 10000"));
    assert!(wrong(&[("KNARR_BREAKER_WITHIN", "500ms")]).contains("between 1000 and 86400000"));
    assert!(wrong(&[("KNARR_LINGER", "2s")]).starts_with("KNARR_LINGER: must lie between"));
    for name in ["KNARR_BREAKER", "KNARR_PUBLISH_FAULTS", "KNARR_MIRROR_ERRORS"] {
        assert_eq!(wrong(&[(name, "yes")]), format!("{name}: `yes` is none of `true`, `false`"));
    }
}
