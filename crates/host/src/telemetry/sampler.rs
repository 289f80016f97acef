//! Which traces are kept: as the parent says, or a share of them by their ids.

use knarr_model::TraceParent;

/// `OTEL_TRACES_SAMPLER` with its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sampler {
    heeds_parent: bool,
    /// Of 2^63; a trace is kept when the lower half of its id, without its last bit, is below. Every
    /// program that samples by the same share keeps the same traces.
    bound: u64,
}

impl Sampler {
    /// Keeps a share of the traces that begin here; of others, with `heeds_parent`, those that the
    /// parent keeps.
    pub(crate) fn new(heeds_parent: bool, share: f64) -> Sampler {
        const ALL: u64 = 1 << 63;
        // From 0 to 1, so it fits.
        let bound = (share.clamp(0.0, 1.0) * ALL as f64) as u64;
        Sampler { heeds_parent, bound }
    }

    /// Whether spans of this trace are kept.
    pub(super) fn keeps(&self, trace: u128, parent: Option<TraceParent>) -> bool {
        match parent.filter(|_| self.heeds_parent) {
            Some(parent) => parent.sampled,
            None => (trace as u64) >> 1 < self.bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(sampled: bool) -> Option<TraceParent> {
        let text = format!("00-{}-{}-0{}", "f".repeat(32), "1".repeat(16), u8::from(sampled));
        Some(text.parse().expect("valid"))
    }

    #[test]
    fn a_parent_is_heeded_by_those_that_are_based_on_it() {
        let (none, all) = (Sampler::new(true, 0.0), Sampler::new(true, 1.0));
        assert!(none.keeps(u128::MAX, parent(true)) && !none.keeps(0, None));
        assert!(!all.keeps(0, parent(false)) && all.keeps(u128::MAX, None));
        let (none, all) = (Sampler::new(false, 0.0), Sampler::new(false, 1.0));
        assert!(!none.keeps(u128::MAX, parent(true)));
        assert!(all.keeps(u128::MAX, parent(false)));
    }

    #[test]
    fn a_share_is_one_of_the_ids_and_the_same_everywhere() {
        let tenth = Sampler::new(true, 0.1);
        // Ids spread evenly.
        let ids = (0..10_000_u128).map(|n| n * (u128::from(u64::MAX) / 10_000) + (n << 64));
        let kept = ids.filter(|id| tenth.keeps(*id, None)).count();
        assert!((999..=1_001).contains(&kept), "{kept}");
        assert!(tenth.keeps(1 << 127, None), "the upper half counts for nothing");
    }
}
