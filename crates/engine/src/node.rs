//! Who this process is to the store: an id with a lease, replaced when the lease is lost.

use std::time::Duration;

use knarr_model::{NodeId, RowId};
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// This process as the other nodes see it.
#[derive(Debug)]
pub(crate) struct Node {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    id: NodeId,
    /// Monotonic time up to which this node may publish.
    valid_until: Duration,
    /// Rows claimed under this id and not yet done with.
    held: BTreeSet<RowId>,
}

impl Node {
    pub(crate) fn new(id: NodeId) -> Self {
        let state = State { id, valid_until: Duration::ZERO, held: BTreeSet::new() };
        Node { state: Mutex::new(state) }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.state.lock().id
    }

    /// Whether the lease is known to run still.
    pub(crate) fn is_valid(&self, monotonic: Duration) -> bool {
        monotonic < self.state.lock().valid_until
    }

    pub(crate) fn renewed(&self, valid_until: Duration) {
        self.state.lock().valid_until = valid_until;
    }

    /// The lease was lost: a new id, and nothing held. What was claimed under the old one is
    /// refused by every commit from now on.
    pub(crate) fn replace(&self, id: NodeId) {
        *self.state.lock() = State { id, valid_until: Duration::ZERO, held: BTreeSet::new() };
    }

    /// Notes claimed rows; `false` for one that is held already.
    pub(crate) fn hold(&self, row: RowId) -> bool {
        self.state.lock().held.insert(row)
    }

    pub(crate) fn let_go(&self, rows: impl IntoIterator<Item = RowId>) {
        let mut state = self.state.lock();
        for row in rows {
            state.held.remove(&row);
        }
    }

    pub(crate) fn held(&self) -> Vec<RowId> {
        self.state.lock().held.iter().copied().collect()
    }
}
