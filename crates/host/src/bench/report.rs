//! What a bench found: one line a variant, ratios within one run, conditions beside them.

use serde::Serialize;

/// One kind of queue, measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Variant {
    /// `quorum` or `classic`.
    pub(crate) queue: &'static str,
    /// Messages a second through the bare forwarder, one figure a round.
    pub(crate) forwarder: Vec<f64>,
    /// Transitions a second through the engine, one figure a round.
    pub(crate) engine: Vec<f64>,
    /// Transitions a second through the engine with one message a transaction.
    pub(crate) single: Vec<f64>,
    /// Engine to forwarder: the median of the rounds' ratios.
    pub(crate) ratio_to_forwarder: f64,
    /// Engine to one message a transaction: the median of the rounds' ratios.
    pub(crate) ratio_to_single: f64,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// How it was measured, for people.
    pub(crate) conditions: String,
    /// One a kind of queue.
    pub(crate) variants: Vec<Variant>,
}

impl Variant {
    pub(super) fn new(
        queue: &'static str,
        forwarder: Vec<f64>,
        engine: Vec<f64>,
        single: Vec<f64>,
    ) -> Self {
        let ratio_to_forwarder = median_ratio(&engine, &forwarder);
        let ratio_to_single = median_ratio(&engine, &single);
        Variant { queue, forwarder, engine, single, ratio_to_forwarder, ratio_to_single }
    }
}

impl Report {
    /// The lowest ratio to the forwarder.
    pub(crate) fn ratio_to_forwarder(&self) -> f64 {
        lowest(self.variants.iter().map(|variant| variant.ratio_to_forwarder))
    }

    /// The lowest ratio to one message a transaction.
    pub(crate) fn ratio_to_single(&self) -> f64 {
        lowest(self.variants.iter().map(|variant| variant.ratio_to_single))
    }
}

fn lowest(ratios: impl Iterator<Item = f64>) -> f64 {
    ratios.fold(f64::INFINITY, f64::min)
}

/// The middle of some figures.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

fn median_ratio(upper: &[f64], lower: &[f64]) -> f64 {
    let ratios: Vec<f64> = upper.iter().zip(lower).map(|(a, b)| a / b).collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let variant =
            Variant::new("classic", vec![100.0, 50.0, 80.0], vec![50.0, 50.0, 40.0], vec![5.0; 3]);
        assert!((variant.ratio_to_forwarder - 0.5).abs() < 1e-9);
        assert!((variant.ratio_to_single - 10.0).abs() < 1e-9);
        assert!((median(&[1.0, 3.0]) - 2.0).abs() < 1e-9);
    }
}
