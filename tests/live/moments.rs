//! Moments at which processes are killed.

use std::time::Duration;

/// Moments that look random and come again with their seed: SplitMix64.
pub(crate) struct Moments(u64);

impl Moments {
    /// `KNARR_TEST_SEED` names another row of moments.
    pub(crate) fn new() -> Moments {
        let given = std::env::var("KNARR_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or(7);
        println!("the kills' seed is {seed}");
        Moments(seed)
    }

    pub(crate) fn within(&mut self, (least, most): (u64, u64)) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        Duration::from_millis(least + mixed % (most - least))
    }
}
