//! Our own settings as values that the rest of the host works with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use knarr_admin::{Token, Tokens};
use knarr_guard::BreakerSettings;
use knarr_model::durations::parse_duration;
use knarr_model::topology::{Declare, QueueKind, ReceiveEndpoint, Subscription, WithoutId};
use knarr_rabbitmq::Part;
use tracing_subscriber::EnvFilter;

use super::otlp::otlp;
use super::parse;
use super::values::Values;
use super::wrong::Wrong;
use crate::telemetry::Plan;

/// Where messages come from.
#[derive(Clone)]
pub(crate) enum BrokerAt {
    Embedded,
    /// The URL may hold a password.
    Amqp(String),
}

/// Whom we trust at the broker, and who we are there; PEM.
#[derive(Clone, Default)]
pub(crate) struct BrokerTls {
    pub(crate) authorities: Option<String>,
    pub(crate) identity: Option<knarr_rabbitmq::Identity>,
}

/// Where state is kept.
#[derive(Clone)]
pub(crate) enum StoreAt {
    Sqlite(PathBuf),
    /// The URL may hold a password.
    Postgres {
        url: String,
        schema: String,
        connections: u32,
    },
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Human,
    Json,
}

/// Everything of ours that was set.
pub(crate) struct Config {
    pub(crate) broker: BrokerAt,
    pub(crate) broker_tls: BrokerTls,
    pub(crate) store: StoreAt,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) token: Option<Token>,
    /// Those of the file, the admin's not among them.
    pub(crate) tokens: Tokens,
    pub(crate) engine: knarr_engine::Settings,
    /// None without a collector.
    pub(crate) telemetry: Option<Plan>,
    endpoint: ReceiveEndpoint,
}

impl Config {
    /// All values, or everything that is wrong with them at once.
    pub(crate) fn of(values: &Values) -> Result<Config, Vec<Wrong>> {
        let mut wrongs = Vec::new();
        let data_dir = PathBuf::from(values.text("KNARR_DATA_DIR").unwrap_or("knarr-data"));
        let broker = noted(&mut wrongs, broker(values));
        let broker_tls = broker_tls(values, &mut wrongs);
        let store = noted(&mut wrongs, store(values, &data_dir));
        let listen = noted(&mut wrongs, listen(values));
        let token = noted(&mut wrongs, token(values));
        let tokens = tokens(values, &mut wrongs);
        let engine = engine(values, &mut wrongs);
        let endpoint = endpoint(values, &engine, &mut wrongs);
        let telemetry = otlp(values, &mut wrongs);
        if wrongs.is_empty() {
            wrongs.extend(reached(&broker, &broker_tls, &store));
        }
        if let (Some(BrokerAt::Embedded), Some(StoreAt::Postgres { .. })) = (&broker, &store) {
            wrongs.push(Wrong::new(
                "KNARR_BROKER",
                "`embedded:` keeps its queues in the SQLite file and does not go with postgres; \
                 set amqp://user:password@host:port/vhost, or leave KNARR_STORE unset",
            ));
        }
        if let (Some(listen), Some(None)) = (&listen, &token)
            && !listen.ip().is_loopback()
        {
            let why = format!("must be set, since {listen} can be reached from other machines");
            wrongs.push(Wrong::new("KNARR_ADMIN_TOKEN", why));
        }
        match (broker, store, listen, token) {
            (Some(broker), Some(store), Some(listen), Some(token)) if wrongs.is_empty() => {
                Ok(Config {
                    broker,
                    broker_tls,
                    store,
                    data_dir,
                    listen,
                    token,
                    tokens,
                    engine,
                    telemetry,
                    endpoint,
                })
            }
            _ => Err(wrongs),
        }
    }

    /// The largest message that endpoints take, in bytes.
    pub(crate) fn max_body(&self) -> usize {
        self.endpoint.max_body
    }

    /// The receive endpoint of this name.
    pub(crate) fn endpoint(&self, name: &str, subscriptions: Vec<Subscription>) -> ReceiveEndpoint {
        ReceiveEndpoint { name: name.into(), subscriptions, ..self.endpoint.clone() }
    }
}

fn noted<T>(wrongs: &mut Vec<Wrong>, read: Result<T, Wrong>) -> Option<T> {
    read.map_err(|wrong| wrongs.push(wrong)).ok()
}

fn broker(values: &Values) -> Result<BrokerAt, Wrong> {
    const NAME: &str = "KNARR_BROKER";
    let text = values.required(NAME)?;
    match text.split_once(':') {
        Some(("embedded", "")) => Ok(BrokerAt::Embedded),
        Some(("amqp" | "amqps", rest)) if rest.starts_with("//") => {
            Ok(BrokerAt::Amqp(text.to_owned()))
        }
        // The text may hold a password, so it is not repeated.
        _ => Err(Wrong::new(
            NAME,
            "is neither `embedded:` nor amqp[s]://user:password@host:port[,host:port…]/vhost",
        )),
    }
}

/// What is no PEM is told here: the broker's client would only say that it cannot connect.
fn broker_tls(values: &Values, wrongs: &mut Vec<Wrong>) -> BrokerTls {
    const KEY: &str = "KNARR_BROKER_KEY";
    const CERTIFICATE: &str = "KNARR_BROKER_CERTIFICATE";
    let mut pem = |name, what: &str| {
        let text = values.text(name)?.to_owned();
        if !text.contains(&format!("-----BEGIN {what}-----")) {
            wrongs.push(Wrong::new(name, format!("is no PEM with a `BEGIN {what}` line")));
        }
        Some(text)
    };
    let authorities = pem("KNARR_BROKER_CA", "CERTIFICATE");
    let identity = match (pem(CERTIFICATE, "CERTIFICATE"), pem(KEY, "PRIVATE KEY")) {
        (Some(certificate), Some(key)) => Some(knarr_rabbitmq::Identity { certificate, key }),
        (None, None) => None,
        (given, _) => {
            let (name, other) =
                if given.is_some() { (KEY, CERTIFICATE) } else { (CERTIFICATE, KEY) };
            wrongs.push(Wrong::new(name, format!("must be set, since {other} is")));
            None
        }
    };
    BrokerTls { authorities, identity }
}

fn store(values: &Values, data_dir: &Path) -> Result<StoreAt, Wrong> {
    const NAME: &str = "KNARR_STORE";
    let Some(text) = values.text(NAME) else {
        return Ok(StoreAt::Sqlite(data_dir.join("knarr.db")));
    };
    match text.split_once(':') {
        Some(("sqlite", path)) if !path.trim_start_matches('/').is_empty() => {
            // sqlite:///x is how URLs write the path /x.
            let path = path.strip_prefix("//").unwrap_or(path);
            Ok(StoreAt::Sqlite(PathBuf::from(path)))
        }
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
            let schema = values.required("KNARR_SCHEMA")?.to_owned();
            let connections = values.number("KNARR_STORE_CONNECTIONS", 1..=1000)?;
            Ok(StoreAt::Postgres { url: text.to_owned(), schema, connections })
        }
        _ => Err(Wrong::new(
            NAME,
            "is neither sqlite:PATH nor postgres://user:password@host:port/database",
        )),
    }
}

/// What broker and store themselves say of where they are and of how they are reached.
fn reached(broker: &Option<BrokerAt>, tls: &BrokerTls, store: &Option<StoreAt>) -> Vec<Wrong> {
    let mut wrongs = Vec::new();
    if let Some(BrokerAt::Amqp(url)) = broker {
        let mut settings = knarr_rabbitmq::Settings::new(url);
        settings.authorities = tls.authorities.clone();
        settings.identity = tls.identity.clone();
        wrongs.extend(settings.findings().into_iter().map(|(part, why)| {
            let name = match part {
                Part::Url => "KNARR_BROKER",
                Part::Authorities => "KNARR_BROKER_CA",
                Part::Certificate => "KNARR_BROKER_CERTIFICATE",
                Part::Key => "KNARR_BROKER_KEY",
            };
            Wrong::new(name, why)
        }));
    }
    if let Some(StoreAt::Postgres { url, schema, .. }) = store
        && let Err(error) = knarr_postgres::Settings::new(url).schema(schema).check()
    {
        let name = match error {
            knarr_postgres::Error::SchemaName(_) => "KNARR_SCHEMA",
            _ => "KNARR_STORE",
        };
        wrongs.push(Wrong::new(name, error));
    }
    wrongs
}

fn listen(values: &Values) -> Result<SocketAddr, Wrong> {
    const NAME: &str = "KNARR_LISTEN";
    parse::address(values.required(NAME)?).map_err(|why| Wrong::new(NAME, why))
}

fn token(values: &Values) -> Result<Option<Token>, Wrong> {
    const NAME: &str = "KNARR_ADMIN_TOKEN";
    values.text(NAME).map(|text| Token::new(text).map_err(|why| Wrong::new(NAME, why))).transpose()
}

/// The tokens of the file, each wrong line told by itself.
fn tokens(values: &Values, wrongs: &mut Vec<Wrong>) -> Tokens {
    const NAME: &str = "KNARR_TOKENS";
    let Some(path) = values.text(NAME) else { return Tokens::default() };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            wrongs.push(Wrong::new(NAME, format!("cannot read {path}: {error}")));
            return Tokens::default();
        }
    };
    Tokens::read(&text).unwrap_or_else(|lines| {
        let told = |(line, why)| Wrong::new(NAME, format!("{path}, line {line}: {why}"));
        wrongs.extend(lines.into_iter().map(told));
        Tokens::default()
    })
}

fn engine(values: &Values, wrongs: &mut Vec<Wrong>) -> knarr_engine::Settings {
    let mut settings = knarr_engine::Settings::default();
    let mut number = |name, most, into: &mut usize| {
        if let Some(number) = noted(wrongs, values.number(name, 1..=most)) {
            *into = number;
        }
    };
    number("KNARR_LANES", 256, &mut settings.lanes);
    number("KNARR_MAX_BATCH", 4096, &mut settings.max_batch);
    number("KNARR_MAX_CALLS", 100_000, &mut settings.max_calls);
    number("KNARR_OUTBOX_CAP", 100_000_000, &mut settings.outbox_cap);
    number("KNARR_OUTBOX_BYTES", 1 << 40, &mut settings.outbox_bytes);
    number("KNARR_PARKED_CAP", 1_000_000, &mut settings.parked_cap);
    let mut duration = |name, least, most, into: &mut _| {
        if let Some(duration) = noted(wrongs, between(values, name, least, most)) {
            *into = duration;
        }
    };
    const YEAR: u128 = 365 * 86_400_000;
    duration("KNARR_LINGER", 0, 1_000, &mut settings.linger);
    duration("KNARR_DECIDE_DEADLINE", 10, 600_000, &mut settings.decide_deadline);
    duration("KNARR_LEASE", 1_000, 600_000, &mut settings.lease);
    duration("KNARR_CRASH_WATCH", 1_000, 3_600_000, &mut settings.crash.watch);
    duration("KNARR_DRAIN", 0, 8_000, &mut settings.drain);
    duration("KNARR_JOURNAL_RETENTION", 60_000, 100 * YEAR, &mut settings.retention.journal);
    duration("KNARR_FINISHED_RETENTION", 60_000, 100 * YEAR, &mut settings.retention.finished);
    let mut yes = |name, into: &mut bool| {
        if let Some(yes) = noted(wrongs, yes(values, name)) {
            *into = yes;
        }
    };
    yes("KNARR_PUBLISH_FAULTS", &mut settings.publish_faults);
    yes("KNARR_MIRROR_ERRORS", &mut settings.mirror_errors);
    settings.breaker = breaker(values, wrongs);
    // Three renewals within a lease, and a margin for a store that is slow.
    settings.renew_every = settings.lease * 3 / 10;
    settings.lease_margin = settings.lease * 7 / 10;
    if let Some(budget) = noted(wrongs, values.number("KNARR_CRASH_BUDGET", 1..=1_000)) {
        settings.crash.budget = budget;
    }
    if let Some(spacing) = noted(wrongs, spacing(values)) {
        settings.crash.spacing = spacing;
    }
    settings
}

/// When so many messages fail that the endpoint pauses; figures that can never come true are wrong.
fn breaker(values: &Values, wrongs: &mut Vec<Wrong>) -> BreakerSettings {
    let usual = BreakerSettings::default();
    let before = wrongs.len();
    let mut number = |name| noted(wrongs, values.number(name, 1..=10_000)).unwrap_or(1);
    let window = number("KNARR_BREAKER_WINDOW");
    let failures = number("KNARR_BREAKER_FAILURES");
    let instances = number("KNARR_BREAKER_INSTANCES");
    const HOUR: u128 = 3_600_000;
    let within = noted(wrongs, between(values, "KNARR_BREAKER_WITHIN", 1_000, 24 * HOUR));
    let restart = noted(wrongs, between(values, "KNARR_BREAKER_RESTART_AFTER", 0, HOUR));
    let read = wrongs.len() == before;
    for (name, number, most, of) in [
        ("KNARR_BREAKER_FAILURES", failures, window, "KNARR_BREAKER_WINDOW"),
        ("KNARR_BREAKER_INSTANCES", instances, failures, "KNARR_BREAKER_FAILURES"),
    ] {
        if read && number > most {
            let why = format!("{number} of {most} can never be: {of} is {most}");
            wrongs.push(Wrong::new(name, why));
        }
    }
    BreakerSettings {
        on: noted(wrongs, yes(values, "KNARR_BREAKER")).unwrap_or(usual.on),
        window,
        failures,
        instances,
        within: within.unwrap_or(usual.within),
        restart_after: restart.filter(|after| !after.is_zero()),
    }
}

/// How far tries of a suspect lie apart.
fn spacing(values: &Values) -> Result<Vec<Duration>, Wrong> {
    const NAME: &str = "KNARR_CRASH_SPACING";
    let read = |text: &str| parse_duration(text.trim()).map_err(|why| Wrong::new(NAME, why));
    values.required(NAME)?.split(',').map(read).collect()
}

/// A duration within bounds, in milliseconds.
fn between(values: &Values, name: &str, least: u128, most: u128) -> Result<Duration, Wrong> {
    let duration = values.duration(name)?;
    match (least..=most).contains(&duration.as_millis()) {
        true => Ok(duration),
        false => Err(Wrong::new(name, format!("must lie between {least} and {most} milliseconds"))),
    }
}

/// `true` or `false`.
fn yes(values: &Values, name: &str) -> Result<bool, Wrong> {
    let words = [("true", true), ("false", false)];
    parse::one_of(values.required(name)?, &words).map_err(|why| Wrong::new(name, why))
}

/// What all endpoints have in common; names and subscriptions come later.
fn endpoint(
    values: &Values,
    engine: &knarr_engine::Settings,
    wrongs: &mut Vec<Wrong>,
) -> ReceiveEndpoint {
    fn word<T: Copy>(values: &Values, name: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
        parse::one_of(values.required(name)?, words).map_err(|why| Wrong::new(name, why))
    }
    let queues = [("quorum", QueueKind::Quorum), ("classic", QueueKind::Classic)];
    let declares = [("create", Declare::Create), ("passive", Declare::Passive)];
    let without = [("digest", WithoutId::Digest), ("quarantine", WithoutId::Quarantine)];
    let usual = (engine.lanes * engine.max_batch).min(usize::from(u16::MAX)) as u16;
    let prefetch = match values.text("KNARR_PREFETCH") {
        Some(_) => values.number("KNARR_PREFETCH", 1..=u16::MAX),
        None => Ok(usual),
    };
    ReceiveEndpoint {
        name: "".into(),
        subscriptions: Vec::new(),
        queue: noted(wrongs, word(values, "KNARR_QUEUE", &queues)).unwrap_or_default(),
        declare: noted(wrongs, word(values, "KNARR_DECLARE", &declares)).unwrap_or_default(),
        prefetch: noted(wrongs, prefetch).unwrap_or(usual),
        max_body: noted(wrongs, values.number("KNARR_MAX_BODY", 1024..=(512 << 20)))
            .unwrap_or(8 << 20),
        without_id: noted(wrongs, word(values, "KNARR_WITHOUT_ID", &without)).unwrap_or_default(),
        ordered: false,
    }
}

/// A directive as it was given; below INFO the broker's client writes whole frames into the log, the
/// password among them, so it is never asked for more.
fn without_frames(directive: &str) -> String {
    const QUIET: [&str; 7] = ["off", "error", "warn", "info", "0", "1", "2"];
    let trimmed = directive.trim();
    if !trimmed.starts_with("lapin") {
        return directive.to_owned();
    }
    let (target, level) = trimmed.rsplit_once('=').unwrap_or((trimmed, "trace"));
    match QUIET.iter().any(|quiet| level.trim().eq_ignore_ascii_case(quiet)) {
        true => directive.to_owned(),
        false => format!("{target}=info"),
    }
}

/// What is logged and how.
pub(crate) fn log(values: &Values) -> Result<(EnvFilter, LogFormat), Vec<Wrong>> {
    let mut wrongs = Vec::new();
    let text = values.text("KNARR_LOG").unwrap_or("info");
    // What the broker's client says of a lost connection, the transport says once and plainly; and
    // it writes the bodies of returned messages into the log.
    let quiet = if text.contains("lapin") { "" } else { ",lapin=off" };
    let heard: Vec<String> = text.split(',').map(without_frames).collect();
    let filter = EnvFilter::from_str(&format!("{}{quiet}", heard.join(","))).map_err(|error| {
        Wrong::new("KNARR_LOG", format!("`{text}` cannot be read: {error}; write for example info"))
    });
    let words = [("human", LogFormat::Human), ("json", LogFormat::Json)];
    let format = values.required("KNARR_LOG_FORMAT").and_then(|text| {
        parse::one_of(text, &words).map_err(|why| Wrong::new("KNARR_LOG_FORMAT", why))
    });
    match (noted(&mut wrongs, filter), noted(&mut wrongs, format)) {
        (Some(filter), Some(format)) => Ok((filter, format)),
        _ => Err(wrongs),
    }
}
