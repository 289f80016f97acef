//! How many messages may be in hand, so that large bodies cannot fill the memory.

/// How many messages may be in hand, by the bytes seen.
#[derive(Debug)]
pub(crate) struct Gauge {
    budget: usize,
    most: u16,
    /// The prefetch at present.
    pub(crate) current: u16,
    average: usize,
    seen: u32,
}

impl Gauge {
    /// Begins with what fits if every body is as large as the endpoint takes.
    pub(crate) fn new(budget: usize, max_body: usize, most: u16) -> Self {
        let mut gauge = Gauge { budget, most: most.max(1), current: 1, average: 0, seen: 0 };
        gauge.current = gauge.fitting(max_body);
        gauge
    }

    fn fitting(&self, size: usize) -> u16 {
        let fitting = self.budget / size.max(1);
        u16::try_from(fitting).unwrap_or(u16::MAX).clamp(1, self.most)
    }

    /// Notes the size of a body, in bytes.
    pub(crate) fn note(&mut self, size: usize) {
        self.average = if self.seen == 0 && self.average == 0 {
            size
        } else {
            // Rises at once, falls slowly: what was large may come again.
            (self.average * 7 / 8 + size / 8).max(size / 4)
        };
        self.seen = self.seen.saturating_add(1);
    }

    /// How many should be in hand, if what comes of the present prefetch is wrong by a factor of
    /// two. `in_hand` are there already.
    pub(crate) fn change(&self, in_hand: usize, full: bool) -> Option<u16> {
        let in_hand = u16::try_from(in_hand).unwrap_or(u16::MAX);
        let fitting = self.fitting(self.average);
        if full || fitting <= self.current / 2 {
            return (self.current > 1).then_some(fitting.min(self.current / 2).max(1));
        }
        let wanted = fitting.min(self.current.saturating_mul(8));
        let enough = self.seen >= u32::from(self.current) / 2;
        (enough && wanted.saturating_sub(in_hand) / 2 >= self.current).then_some(wanted)
    }

    /// Notes the prefetch that was set.
    pub(crate) fn set(&mut self, current: u16) {
        self.current = current;
        self.seen = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(gauge: &mut Gauge, size: usize) -> u16 {
        for _ in 0..10_000 {
            gauge.note(size);
            if let Some(prefetch) = gauge.change(0, false) {
                gauge.set(prefetch);
            }
        }
        gauge.current
    }

    #[test]
    fn the_prefetch_grows_with_small_bodies_and_shrinks_with_large_ones() {
        let mut gauge = Gauge::new(64 << 20, 8 << 20, 2_048);
        assert_eq!(gauge.current, 8, "as if all were as large as can be");
        assert_eq!(settle(&mut gauge, 512), 2_048);
        assert!(settle(&mut gauge, 8 << 20) <= 15);
        assert!(settle(&mut gauge, 512) > 1_024);
    }

    #[test]
    fn a_small_prefetch_is_left_alone() {
        let mut gauge = Gauge::new(64 << 20, 8 << 20, 5);
        gauge.note(10);
        assert_eq!((gauge.current, gauge.change(1, false)), (5, None));
    }

    #[test]
    fn what_is_in_hand_and_the_prefetch_never_exceed_what_was_asked_for() {
        let mut gauge = Gauge::new(64 << 20, 8 << 20, 20);
        (0..8).for_each(|_| gauge.note(10));
        assert_eq!(gauge.change(2, false), Some(20));
        assert_eq!(gauge.change(8, false), None, "not worth a change");
    }

    #[test]
    fn a_body_above_the_whole_budget_still_comes_one_at_a_time() {
        let mut gauge = Gauge::new(1 << 20, 8 << 20, 100);
        assert_eq!(gauge.current, 1);
        gauge.note(8 << 20);
        assert_eq!(gauge.change(1, true), None);
    }
}
