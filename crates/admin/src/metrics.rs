//! Counters and gauges as Prometheus reads them: bounded labels, no ids.

use std::fmt::Write as _;

/// How a value behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises while the process lives; its name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
}

/// One number with its name.
#[derive(Clone, Debug)]
pub struct Metric {
    /// `knarr_<what>`, letters, digits and underscores.
    pub name: String,
    /// What it says, in a sentence.
    pub help: String,
    /// Counter or gauge.
    pub kind: Kind,
    /// Names and values of its labels; values come from a small fixed set.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: u64,
}

/// The text exposition format 0.0.4; lines of one name stand together, in the order of the first.
pub(crate) fn text(metrics: &[Metric]) -> String {
    let mut out = String::new();
    let mut told: Vec<&str> = Vec::new();
    for metric in metrics {
        if told.contains(&metric.name.as_str()) {
            continue;
        }
        told.push(&metric.name);
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
        let _infallible = writeln!(out, "# HELP {} {help}\n# TYPE {0} {kind}", metric.name);
        for same in metrics.iter().filter(|other| other.name == metric.name) {
            let _infallible = writeln!(out, "{}{} {}", same.name, labels(same), same.value);
        }
    }
    out
}

fn labels(metric: &Metric) -> String {
    if metric.labels.is_empty() {
        return String::new();
    }
    let pairs = metric.labels.iter().map(|(name, value)| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    });
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_together_and_labels_are_escaped() {
        let metric = |name: &str, label: &str, value| Metric {
            name: name.to_owned(),
            help: "Says what.".to_owned(),
            kind: Kind::Counter,
            labels: match label {
                "" => Vec::new(),
                label => vec![("of", label.to_owned())],
            },
            value,
        };
        let all =
            [metric("a_total", "x\"y", 1), metric("b_total", "", 2), metric("a_total", "z", 3)];
        let expected = "# HELP a_total Says what.\n# TYPE a_total counter\n\
                        a_total{of=\"x\\\"y\"} 1\na_total{of=\"z\"} 3\n\
                        # HELP b_total Says what.\n# TYPE b_total counter\nb_total 2\n";
        assert_eq!(text(&all), expected);
    }
}
