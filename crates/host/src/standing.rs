//! How the process stands, from before its store is there: what health and metrics show.

use std::sync::{Arc, OnceLock};

use knarr_admin::{Kind, Metric};
use knarr_engine::{Counters, Health, Running};
use parking_lot::Mutex;

use crate::spawn::Spawner;

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
}

impl Standing {
    pub(crate) fn new(spawner: Spawner, version: &str) -> Self {
        Standing(Arc::new(Inner {
            engine: OnceLock::new(),
            waiting: Mutex::new("starting".to_owned()),
            spawner,
            version: version.to_owned(),
        }))
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
        let counters = self.0.engine.get().map(|(_, counters)| counters.all());
        for (name, value) in counters.unwrap_or_default() {
            metrics.push(Metric {
                name: format!("knarr_{name}_total"),
                help: format!("{} since the process began.", capitalised(name)),
                kind: Kind::Counter,
                labels: Vec::new(),
                value,
            });
        }
        metrics
    }
}

/// `lost_races` as a person reads it.
fn capitalised(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
