//! What is noted of a committed batch: counters, how this process does, that a suspect came through.

use knarr_model::InstanceId;
use knarr_model::ports::crash::Used;
use knarr_model::work::RowKind;

use super::batch::{Batches, Round};
use super::fate::{Fate, FateKind};
use super::fold::parked_row;
use crate::delivery::Incoming;

impl Batches {
    /// Notes that a batch was committed: this process lives, and its suspect, if decided, came through.
    pub(super) fn note_committed(
        &self,
        batch: &[Incoming],
        fates: &[Fate],
        lost: &[InstanceId],
        round: &mut Round,
    ) {
        if !self.alone {
            *self.serving.committed.lock() = Some(self.shared.ports.clock.now());
        }
        let waits = |fate: &Fate| fate.kind == FateKind::Parked;
        round.written.through = lost.is_empty() && !fates.iter().any(waits);
        self.tell_standing(batch, fates, lost);
        let now = self.shared.ports.clock.now();
        std::mem::take(&mut round.spans).committed(&self.shared.traces, lost, now);
    }

    /// Notes how the decisions went, for the comparison with other nodes.
    fn tell_standing(&self, batch: &[Incoming], fates: &[Fate], lost: &[InstanceId]) {
        let (standing, now) = (&self.shared.standing, self.shared.ports.clock.monotonic());
        let mut worked = 0;
        for (incoming, fate) in batch.iter().zip(fates) {
            if fate.key.is_some_and(|key| lost.contains(&key)) {
                continue;
            }
            match fate.kind {
                FateKind::Applied => worked += 1,
                FateKind::Failed => {
                    let parked = || parked_row(self.serving.saga.name(), incoming.id);
                    let (kind, row) = (incoming.claimed())
                        .map_or_else(|| (RowKind::Parked, parked()), |row| (row.kind, row.id));
                    standing.failed(now, Some(Used::Row(kind, row)));
                }
                _ => {}
            }
        }
        standing.worked(now, worked);
    }

    /// Counts what became of each message that was kept.
    pub(super) fn count(&self, fates: &[Fate], kept: &[bool], lost: usize) {
        let counters = &self.shared.counters;
        counters.batches.add(1);
        counters.lost_races.add(lost);
        for (fate, _) in fates.iter().zip(kept).filter(|(_, kept)| **kept) {
            let counter = match fate.kind {
                FateKind::Applied => &counters.applied,
                FateKind::Duplicate => &counters.duplicates,
                FateKind::PassedOver => &counters.passed_over,
                FateKind::Parked | FateKind::Failed => &counters.parked,
                FateKind::Quarantined(_) => &counters.quarantined,
                FateKind::Blocked(_) => &counters.blocked,
                FateKind::Condemned => continue,
            };
            counter.add(1);
        }
    }
}
