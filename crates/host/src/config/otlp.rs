//! The settings `OTEL_…`, as far as there is a collector: what they mean is OpenTelemetry's to say.

use std::time::Duration;

use super::parse;
use super::values::Values;
use super::wrong::Wrong;
use crate::telemetry::{Plan, Sampler, Target};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SHARE: &str = "OTEL_TRACES_SAMPLER_ARG";

/// The plan; none when there is no collector, and then nothing else of it is looked at: these
/// settings may be meant for other programs.
pub(super) fn otlp(values: &Values, wrongs: &mut Vec<Wrong>) -> Option<Plan> {
    let disabled =
        values.text("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let traces = place(values, "TRACES", "/v1/traces").filter(|_| !disabled);
    let metrics = place(values, "METRICS", "/v1/metrics").filter(|_| !disabled);
    if traces.is_none() && metrics.is_none() {
        return None;
    }
    let mut noted = Noted { wrongs };
    // Once, though both signals go there; and as it was written, before their paths are added.
    let common =
        [&traces, &metrics].iter().any(|at| at.as_ref().is_some_and(|at| at.0 == ENDPOINT));
    if let Some(base) = values.text(ENDPOINT).filter(|_| common) {
        let checked = Target::new(base, &[], Duration::ZERO);
        noted.of(checked.map_err(|why| Wrong::new(ENDPOINT, why)))?;
    }
    let mut is_wanted = |name| noted.of(wanted(values, name)).unwrap_or(true);
    let traces = traces.filter(|_| is_wanted("OTEL_TRACES_EXPORTER"));
    let metrics = metrics.filter(|_| is_wanted("OTEL_METRICS_EXPORTER"));
    noted.of(protocol(values));
    let headers = noted.of(pairs(values, HEADERS)).unwrap_or_default();
    let timeout = noted.of(millis(values, "OTEL_EXPORTER_OTLP_TIMEOUT"));
    let mut target = |at: Option<(&'static str, String)>| {
        let (name, url) = at?;
        let made = Target::new(&url, &headers, timeout.unwrap_or_default());
        noted.of(made.map_err(|why| Wrong::new(name, why)))
    };
    let (traces, metrics) = (target(traces), target(metrics));
    let sampler = noted.of(sampler(values));
    let queue = noted.of(values.number("OTEL_BSP_MAX_QUEUE_SIZE", 1..=1_000_000));
    let batch = noted.of(values.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1..=10_000));
    let delay = noted.of(millis(values, "OTEL_BSP_SCHEDULE_DELAY"));
    let interval = noted.of(millis(values, "OTEL_METRIC_EXPORT_INTERVAL"));
    let mut attributes = noted.of(pairs(values, "OTEL_RESOURCE_ATTRIBUTES")).unwrap_or_default();
    if let Some(name) = values.text("OTEL_SERVICE_NAME") {
        attributes.retain(|(given, _)| given != "service.name");
        attributes.push(("service.name".to_owned(), name.to_owned()));
    }
    let queue: usize = queue?;
    Some(Plan {
        traces,
        metrics,
        sampler: sampler?,
        queue,
        batch: batch?.min(queue),
        delay: delay?,
        interval: interval?,
        attributes,
    })
}

/// Gathers what is wrong, so that all of it is told at once.
struct Noted<'a> {
    wrongs: &'a mut Vec<Wrong>,
}

impl Noted<'_> {
    fn of<T>(&mut self, read: Result<T, Wrong>) -> Option<T> {
        read.map_err(|wrong| self.wrongs.push(wrong)).ok()
    }
}

/// Where a signal goes, and the setting that says so: its own one, as it stands, or the common one
/// with the signal's path.
fn place(values: &Values, signal: &str, path: &str) -> Option<(&'static str, String)> {
    let own = match signal {
        "TRACES" => "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        _ => "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    };
    if let Some(url) = values.text(own) {
        return Some((own, url.to_owned()));
    }
    let base = values.text(ENDPOINT)?;
    Some((ENDPOINT, format!("{}{path}", base.trim_end_matches('/'))))
}

/// Whether a signal is sent.
fn wanted(values: &Values, name: &str) -> Result<bool, Wrong> {
    let words = [("otlp", true), ("none", false)];
    parse::one_of(values.required(name)?, &words).map_err(|why| Wrong::new(name, why))
}

fn protocol(values: &Values) -> Result<(), Wrong> {
    match values.required(PROTOCOL)? {
        "http/protobuf" => Ok(()),
        other => Err(Wrong::new(
            PROTOCOL,
            format!(
                "`{other}` is not spoken here, only http/protobuf; a collector usually takes it \
                 on port 4318"
            ),
        )),
    }
}

fn sampler(values: &Values) -> Result<Sampler, Wrong> {
    let share = || -> Result<f64, Wrong> {
        let text = values.text(SHARE).unwrap_or("1");
        let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        share.ok_or_else(|| Wrong::new(SHARE, format!("`{text}` is no number from 0 to 1")))
    };
    let words = [
        ("always_on", (false, Some(1.0))),
        ("always_off", (false, Some(0.0))),
        ("traceidratio", (false, None)),
        ("parentbased_always_on", (true, Some(1.0))),
        ("parentbased_always_off", (true, Some(0.0))),
        ("parentbased_traceidratio", (true, None)),
    ];
    let named = parse::one_of(values.required(SAMPLER)?, &words);
    let (heeds_parent, fixed) = named.map_err(|why| Wrong::new(SAMPLER, why))?;
    Ok(Sampler::new(heeds_parent, fixed.map_or_else(share, Ok)?))
}

/// A duration as OpenTelemetry writes it: a number of milliseconds.
fn millis(values: &Values, name: &str) -> Result<Duration, Wrong> {
    values.number(name, 1..=86_400_000).map(Duration::from_millis)
}

/// `name=value,name=value`, values percent-encoded. The text may hold a key, so it is not repeated.
fn pairs(values: &Values, name: &str) -> Result<Vec<(String, String)>, Wrong> {
    let Some(text) = values.text(name) else { return Ok(Vec::new()) };
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let read = pairs.map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim().to_owned(), decoded(value.trim())?)).filter(|(key, _)| !key.is_empty())
    });
    let wrong = || Wrong::new(name, "is not written as name=value,name=value");
    read.collect::<Option<Vec<_>>>().ok_or_else(wrong)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::config::{Asked, SETTINGS, found};

    fn read(set: &[(&str, &str)]) -> Result<Option<Plan>, Vec<String>> {
        let set: BTreeMap<_, _> =
            set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let flags = BTreeMap::new();
        let folder = Path::new(".");
        let asked = Asked { known: SETTINGS, set: &set, flags: &flags, environment: None, folder };
        let values = found(&asked).map_err(|_| Vec::new())?;
        let mut wrongs = Vec::new();
        let plan = otlp(&values, &mut wrongs);
        match wrongs.is_empty() {
            true => Ok(plan),
            false => Err(wrongs.iter().map(ToString::to_string).collect()),
        }
    }

    const AT: (&str, &str) = (ENDPOINT, "http://collector:4318/");

    #[test]
    fn without_a_collector_nothing_of_it_is_looked_at() {
        assert!(read(&[]).expect("fine").is_none());
        assert!(read(&[(PROTOCOL, "grpc"), (SAMPLER, "xray")]).expect("fine").is_none());
        assert!(read(&[AT, ("OTEL_SDK_DISABLED", "TRUE")]).expect("fine").is_none());
    }

    #[test]
    fn both_signals_go_there_unless_told_otherwise() {
        let plan = read(&[AT]).expect("fine").expect("a plan");
        assert!(plan.traces.is_some() && plan.metrics.is_some());
        assert_eq!((plan.queue, plan.batch), (2048, 512));
        assert_eq!(plan.delay, Duration::from_secs(5));
        let plan = read(&[AT, ("OTEL_METRICS_EXPORTER", "none")]).expect("fine").expect("a plan");
        assert!(plan.traces.is_some() && plan.metrics.is_none());
        let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://metrics.example");
        let plan = read(&[own]).expect("fine").expect("a plan");
        assert!(plan.traces.is_none() && plan.metrics.is_some());
    }

    #[test]
    fn attributes_are_decoded_and_the_service_has_one_name() {
        let plan = read(&[
            AT,
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a, deployment.environment=pre%20prod"),
            ("OTEL_SERVICE_NAME", "scans"),
        ]);
        let attributes = plan.expect("fine").expect("a plan").attributes;
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            attributes,
            [pair("deployment.environment", "pre prod"), pair("service.name", "scans")]
        );
    }

    #[test]
    fn what_is_wrong_is_told_in_a_line_that_names_the_setting() {
        for (name, value) in [
            (ENDPOINT, "collector:4318"),
            (PROTOCOL, "grpc"),
            (HEADERS, "hunter2"),
            (HEADERS, "a=%zz"),
            (HEADERS, "a b=hunter2"),
            (SAMPLER, "sometimes"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_RESOURCE_ATTRIBUTES", "alone"),
        ] {
            let wrongs = read(&[AT, (name, value)]).map(|_| ()).expect_err(value);
            let named = |wrong: &String| wrong.contains(name) || wrong.contains(ENDPOINT);
            assert!(!wrongs.is_empty() && wrongs.iter().all(named), "{name}={value}: {wrongs:?}");
            assert!(!wrongs.concat().contains("hunter2"), "{wrongs:?}");
        }
        let share = [AT, (SAMPLER, "traceidratio"), (SHARE, "2")];
        let wrongs = read(&share).map(|_| ()).expect_err("too much");
        assert!(wrongs[0].contains(SHARE), "{wrongs:?}");
    }
}
