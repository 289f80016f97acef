//! How the process stands, from before its store is there: what health and metrics show.

use std::sync::{Arc, OnceLock};

use knarr_admin::{Kind, Metric};
use knarr_engine::{Counters, Health, Reading, Running};
use parking_lot::Mutex;

use crate::spawn::Spawner;
use crate::telemetry::Exported;

type Ask = Box<dyn Fn() -> Health + Send + Sync>;

/// Shared by the parts that report and the parts that are asked.
#[derive(Clone)]
pub(crate) struct Standing(Arc<Inner>);

struct Inner {
    engine: OnceLock<(Ask, Arc<Counters>)>,
    /// What is waited for while there is no engine yet.
    waiting: Mutex<String>,
    spawner: Spawner,
    version: String,
    exported: Arc<Exported>,
}

impl Standing {
    pub(crate) fn new(spawner: Spawner, version: &str) -> Self {
        Standing(Arc::new(Inner {
            engine: OnceLock::new(),
            waiting: Mutex::new("starting".to_owned()),
            spawner,
            version: version.to_owned(),
            exported: Arc::default(),
        }))
    }

    /// What became of spans.
    pub(crate) fn exported(&self) -> Arc<Exported> {
        self.0.exported.clone()
    }

    /// There is no engine yet, because of this.
    pub(crate) fn waits_for(&self, what: &str) {
        what.clone_into(&mut self.0.waiting.lock());
    }

    /// From now on the engine is asked.
    pub(crate) fn runs(&self, engine: &Running) {
        let ask: Ask = Box::new(engine.watch_health());
        // One process has one engine.
        let _first_stays = self.0.engine.set((ask, engine.counters()));
    }

    /// What keeps the process from being ready; empty when it is.
    pub(crate) fn unready(&self) -> Vec<String> {
        let mut unready = match self.0.engine.get() {
            Some((ask, _)) => ask().unready,
            None => vec![self.0.waiting.lock().clone()],
        };
        if self.0.spawner.is_broken() {
            unready.push("a part of the engine panicked".to_owned());
        }
        unready
    }

    /// Why the process should be started again, if it should.
    pub(crate) fn restart(&self) -> Option<String> {
        if self.0.spawner.is_broken() {
            return Some("a part of the engine panicked; start me again".to_owned());
        }
        let restart = self.0.engine.get().is_some_and(|(ask, _)| ask().restart);
        restart.then(|| "too many behaviours did not come back; start me again".to_owned())
    }

    /// Every counter, whether the process is ready, and its version.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let gauge = |name: &str, help: &str, labels, value| Metric {
            name: name.to_owned(),
            help: help.to_owned(),
            kind: Kind::Gauge,
            labels,
            value,
        };
        let ready = u64::from(self.unready().is_empty());
        let version = vec![("version", self.0.version.clone())];
        let mut metrics = vec![
            gauge("knarr_info", "1; its label tells the version.", version, 1),
            gauge("knarr_ready", "1 while the process is ready, else 0.", Vec::new(), ready),
        ];
        if let Some((_, counters)) = self.0.engine.get() {
            metrics.extend(counted(counters));
        }
        metrics.extend(sent(&self.0.exported));
        metrics
    }
}

/// What became of spans; both stay 0 where none are told.
fn sent(exported: &Exported) -> [Metric; 2] {
    let total = |name: &str, help: &str, value| Metric {
        name: name.to_owned(),
        help: help.to_owned(),
        kind: Kind::Counter,
        labels: Vec::new(),
        value,
    };
    let lost = "Spans that the collector never got, or did not want.";
    [
        total("knarr_spans_sent_total", "Spans that the collector took.", exported.all_sent()),
        total("knarr_spans_dropped_total", lost, exported.all_dropped()),
    ]
}

/// What the engine counts, under the names that docs/operations.md explains.
fn counted(counters: &Counters) -> Vec<Metric> {
    let metrics = counters.reported().into_iter().map(|counter| {
        let (name, kind) = match counter.reading {
            Reading::Total => (format!("knarr_{}_total", counter.name), Kind::Counter),
            Reading::Level => (format!("knarr_{}", counter.name), Kind::Gauge),
        };
        let (help, labels) = (counter.help.to_owned(), Vec::new());
        Metric { name, help, kind, labels, value: counter.value }
    });
    metrics.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn document(path: &str) -> String {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/");
        std::fs::read_to_string(format!("{root}{path}")).expect("it is there")
    }

    /// What a process that serves shows.
    fn shown() -> BTreeSet<String> {
        let standing = Standing::new(Spawner::default(), "1");
        let own = standing.metrics().into_iter().chain(counted(&Counters::default()));
        own.map(|metric| metric.name).collect()
    }

    /// Words that begin like metrics of ours.
    fn named(text: &str) -> BTreeSet<String> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("knarr_"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_dashboard_names_no_metric_that_is_not_there() {
        let asked = named(&document("observe/grafana/knarr.json"));
        assert!(asked.len() > 10, "{asked:?}");
        let unknown: Vec<_> = asked.difference(&shown()).cloned().collect();
        assert!(unknown.is_empty(), "docs/observe/grafana/knarr.json asks for {unknown:?}");
    }

    #[test]
    fn the_operators_page_explains_every_metric_and_no_other() {
        let page = document("operations.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `knarr_"));
        let explained: BTreeSet<String> =
            rows.filter_map(|row| Some(format!("knarr_{}", row.split_once('`')?.0))).collect();
        assert_eq!(explained, shown(), "left: docs/operations.md, right: /metrics");
    }

    #[test]
    fn what_may_fall_is_a_gauge_and_every_metric_says_what_it_is() {
        let all = counted(&Counters::default());
        for metric in &all {
            let rises = metric.name.ends_with("_total");
            assert_eq!(metric.kind == Kind::Counter, rises, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}: {}", metric.name, metric.help);
        }
        assert!(all.iter().any(|it| it.name == "knarr_unclaimed" && it.kind == Kind::Gauge));
    }
}
