//! What a bench of halts found, a fleet a line.

use serde::Serialize;

use super::report::median;

/// One fleet, idle or under load, told of verbs or not.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HaltVariant {
    /// Processes that share the queue.
    pub(crate) replicas: usize,
    /// At half load; else idle.
    #[serde(rename = "half_load")]
    pub(crate) loaded: bool,
    /// Whether the processes hear NOTIFY.
    pub(crate) notify: bool,
    /// From asking to when nothing of the old epoch can commit any more, a halt each.
    pub(crate) in_force_ms: Vec<f64>,
    /// From then to when the queue has no consumer left.
    pub(crate) to_last_consumer_cancelled_ms: Vec<f64>,
    /// From asking to when every process has told what it had in hand.
    pub(crate) answered_ms: Vec<f64>,
}

impl HaltVariant {
    pub(super) fn new(replicas: usize, loaded: bool, notify: bool) -> Self {
        HaltVariant {
            replicas,
            loaded,
            notify,
            in_force_ms: Vec::new(),
            to_last_consumer_cancelled_ms: Vec::new(),
            answered_ms: Vec::new(),
        }
    }

    /// Its cells in a table.
    pub(crate) fn cells(&self) -> Vec<String> {
        let load = if self.loaded { "50 %" } else { "idle" };
        let notify = if self.notify { "with" } else { "without" };
        let figures = [&self.in_force_ms, &self.to_last_consumer_cancelled_ms, &self.answered_ms]
            .map(|figures| told(figures));
        [vec![self.replicas.to_string(), load.to_owned(), notify.to_owned()], figures.to_vec()]
            .concat()
    }

    /// One line while the others are still measured.
    pub(super) fn told(&self) -> String {
        let [replicas, load, notify, in_force, cancelled, answered] =
            <[String; 6]>::try_from(self.cells()).unwrap_or_default();
        format!(
            "{replicas} replicas, {load}, {notify} NOTIFY: in force after {in_force}, last consumer \
             cancelled {cancelled} later, answered after {answered}"
        )
    }
}

/// Median and worst of some figures.
fn told(figures: &[f64]) -> String {
    let worst = figures.iter().copied().fold(0.0, f64::max);
    format!("{:.0} ms (at most {worst:.0})", median(figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_is_told_by_its_medians_and_worst_figures() {
        let mut variant = HaltVariant::new(3, true, false);
        variant.in_force_ms = vec![4.0, 2.0, 9.0];
        variant.to_last_consumer_cancelled_ms = vec![600.0, 100.0, 950.0];
        variant.answered_ms = vec![700.0];
        assert_eq!(
            variant.cells(),
            [
                "3",
                "50 %",
                "without",
                "4 ms (at most 9)",
                "600 ms (at most 950)",
                "700 ms (at most 700)"
            ]
        );
        assert!(
            variant.told().starts_with("3 replicas, 50 %, without NOTIFY: in force after 4 ms")
        );
        let json = serde_json::to_value(&variant).expect("plain data");
        assert_eq!((&json["half_load"], &json["notify"]), (&true.into(), &false.into()));
    }
}
