//! Which deliveries of one channel are in hand, and which acks one frame can carry.

use std::collections::{BTreeMap, BTreeSet};

/// A `basic.ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    /// The delivery tag it names.
    pub(crate) tag: u64,
    /// Whether it carries every older one too.
    pub(crate) multiple: bool,
}

/// The tags of one channel.
///
/// The broker looks for an acked tag from its oldest unacked delivery on, so that acking one by one
/// out of order costs it as many steps as there are deliveries in hand, each time. So acks wait
/// until everything older is settled, and leave as one.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    /// Body sizes of what is in hand.
    in_hand: BTreeMap<u64, usize>,
    /// Done, and not acked yet.
    done: BTreeSet<u64>,
}

impl Tags {
    /// A delivery came.
    pub(crate) fn arrived(&mut self, tag: u64, size: usize) {
        self.in_hand.insert(tag, size);
    }

    /// Takes a delivery out of hand, to be returned. A tag that is settled twice closes the
    /// channel, so each is taken out once.
    pub(crate) fn take(&mut self, tag: u64) -> Option<usize> {
        self.in_hand.remove(&tag)
    }

    /// A delivery is done, to be acked by one of the next [`acks`](Tags::acks).
    pub(crate) fn done(&mut self, tag: u64) -> Option<usize> {
        let size = self.in_hand.remove(&tag)?;
        self.done.insert(tag);
        Some(size)
    }

    /// The ack of everything up to the oldest delivery in hand, if there is something to ack.
    ///
    /// Whatever is older than that has been settled, and every returned one has left as a frame
    /// before this: so it acks nothing that somebody may still decide on.
    pub(crate) fn acks(&mut self) -> Option<Ack> {
        let behind = match self.in_hand.first_key_value() {
            Some((oldest, _)) => self.done.split_off(oldest),
            None => BTreeSet::new(),
        };
        let ready = std::mem::replace(&mut self.done, behind);
        let tag = *ready.last()?;
        Some(Ack { tag, multiple: ready.len() > 1 })
    }

    /// Every ack that waits for an older delivery, one by one.
    pub(crate) fn late_acks(&mut self) -> Vec<Ack> {
        let first = self.acks();
        let late = std::mem::take(&mut self.done);
        first.into_iter().chain(late.into_iter().map(|tag| Ack { tag, multiple: false })).collect()
    }

    /// How many acks wait for an older delivery.
    pub(crate) fn waiting(&self) -> usize {
        self.done.len()
    }

    /// How many deliveries the broker has not seen settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.in_hand.len() + self.done.len()
    }

    /// What is in hand, oldest first.
    pub(crate) fn in_hand(&self) -> impl Iterator<Item = u64> + '_ {
        self.in_hand.keys().copied()
    }

    /// Body bytes in hand.
    pub(crate) fn bytes(&self) -> usize {
        self.in_hand.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker's side of a channel: what it waits for, in the order of delivery.
    #[derive(Default)]
    struct Broker {
        unacked: Vec<u64>,
        acked: BTreeSet<u64>,
    }

    impl Broker {
        fn ack(&mut self, ack: Ack) {
            // An unknown tag closes the channel.
            let at = self.unacked.iter().position(|tag| *tag == ack.tag).expect("a known tag");
            let from = if ack.multiple { 0 } else { at };
            self.acked.extend(self.unacked.drain(from..=at));
        }
    }

    fn dice(seed: &mut u64) -> usize {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*seed >> 33).unwrap_or_default()
    }

    #[test]
    fn s0_04_an_ack_carries_only_what_is_done() {
        for mut seed in 0..500_u64 {
            let (mut tags, mut broker) = (Tags::default(), Broker::default());
            let (mut next, mut done) = (1_u64, BTreeSet::new());
            for _ in 0..200 {
                let held: Vec<_> = tags.in_hand().collect();
                match dice(&mut seed) % 8 {
                    0..=2 => {
                        tags.arrived(next, 10);
                        broker.unacked.push(next);
                        next += 1;
                    }
                    3..=5 if !held.is_empty() => {
                        let tag = held[dice(&mut seed) % held.len()];
                        assert_eq!(tags.done(tag), Some(10));
                        assert_eq!(tags.done(tag), None, "a tag counts once");
                        done.insert(tag);
                    }
                    6 if !held.is_empty() => {
                        let tag = held[dice(&mut seed) % held.len()];
                        assert_eq!(tags.take(tag), Some(10));
                        broker.unacked.retain(|it| *it != tag);
                    }
                    7 if dice(&mut seed).is_multiple_of(4) => {
                        tags.late_acks().into_iter().for_each(|ack| broker.ack(ack));
                        assert_eq!(broker.acked, done, "nothing done waits for longer");
                    }
                    _ => tags.acks().into_iter().for_each(|ack| broker.ack(ack)),
                }
                assert!(broker.acked.is_subset(&done), "seed {seed}: {:?}", broker.acked);
                assert_eq!(tags.unsettled(), broker.unacked.len());
                assert_eq!(tags.bytes(), tags.in_hand().count() * 10);
            }
            for tag in tags.in_hand().collect::<Vec<_>>() {
                tags.done(tag);
                done.insert(tag);
            }
            tags.acks().into_iter().for_each(|ack| broker.ack(ack));
            assert_eq!((broker.acked, tags.waiting()), (done, 0));
        }
    }

    #[test]
    fn what_is_in_order_leaves_in_one_frame() {
        let mut tags = Tags::default();
        (1..=4).for_each(|tag| tags.arrived(tag, 1));
        tags.done(2);
        tags.done(3);
        assert_eq!(tags.acks(), None);
        tags.done(1);
        assert_eq!(tags.acks(), Some(Ack { tag: 3, multiple: true }));
        tags.done(4);
        assert_eq!(tags.acks(), Some(Ack { tag: 4, multiple: false }));
    }
}
