//! The state of everything: broker, store, nodes, what is left of the bounds, and what was seen.

use std::fmt;

use crate::history::History;
use crate::rules::{VERBS, Verb};
use crate::seen::Seen;
use crate::words::{
    Aside, Chunk, Endpoint, IDS, Incident, Line, NODES, Node, Phase, Place, Plan, RUNS, Row,
    Status, Wait,
};

/// What is left of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    pub(crate) faults: u8,
    pub(crate) verbs: [u8; VERBS],
    pub(crate) orders: u8,
    pub(crate) crashes: u8,
    pub(crate) away: u8,
}

/// An order that was given and not yet carried out; with its plan only where it was made too early.
pub(crate) type Order = Option<(Verb, Option<Plan>)>;

/// Everything.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub(crate) queue: [Place; 2],
    pub(crate) endpoint: Endpoint,
    pub(crate) instance: Option<Row>,
    /// A tombstone between delete and insert: only where that rule is broken.
    pub(crate) unburied: Option<Row>,
    pub(crate) rows: [Wait; IDS],
    pub(crate) journal: [Line; IDS],
    /// By run, from 1.
    pub(crate) outbox: [Chunk; RUNS],
    /// Runs, as a set.
    pub(crate) withdrawn: u8,
    pub(crate) asides: [Aside; 6],
    pub(crate) incidents: [Option<Incident>; 3],
    pub(crate) nodes: [Node; NODES],
    pub(crate) orders: [Order; 2],
    pub(crate) left: Left,
    pub(crate) seen: Seen,
    pub(crate) history: Option<Box<History>>,
}

impl World {
    /// Whether a run is withdrawn.
    pub(crate) fn is_withdrawn(&self, run: u8) -> bool {
        self.withdrawn & (1 << run) != 0
    }

    /// The instance's version; 0 when there is none.
    pub(crate) fn version(&self) -> u8 {
        self.instance.map_or(0, |row| row.version)
    }

    /// Whether a node of the endpoint holds the shared fence.
    pub(crate) fn is_shared(&self) -> bool {
        let holds = |node: &Node| matches!(node.phase, Phase::Fenced(_) | Phase::Checked(_));
        self.nodes.iter().any(holds)
    }

    /// The same world with the nodes' names exchanged.
    fn mirrored(&self) -> World {
        let mut other = self.clone();
        other.nodes.swap(0, 1);
        for place in &mut other.queue {
            if let Place::With(node) = place {
                *node = 1 - *node;
            }
        }
        for row in &mut other.rows {
            if let Wait::Claimed(node) = row {
                *node = 1 - *node;
            }
        }
        for chunk in &mut other.outbox {
            if let Chunk::Of(node) = chunk {
                *node = 1 - *node;
            }
        }
        other
    }

    /// One of the two worlds that differ in the nodes' names only.
    pub(crate) fn representative(&self) -> World {
        let key = |world: &World| (world.nodes, world.queue, world.rows, world.outbox);
        let other = self.mirrored();
        if key(&other) < key(self) { other } else { self.clone() }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> =
            self.rows.iter().enumerate().filter(|(_, row)| **row != Wait::Absent).collect();
        let journal: Vec<_> =
            self.journal.iter().enumerate().filter(|(_, line)| **line != Line::None).collect();
        let asides: Vec<_> = self.asides.iter().enumerate().collect();
        let asides: Vec<_> =
            asides.into_iter().filter(|(_, aside)| aside.status != Status::Never).collect();
        writeln!(f, "{:?} queue {:?}", self.endpoint, self.queue)?;
        writeln!(f, "  {:?} unburied {:?}", self.instance, self.unburied)?;
        writeln!(f, "  rows {rows:?} journal {journal:?} outbox {:?}", self.outbox)?;
        writeln!(f, "  asides {asides:?} withdrawn {:b}", self.withdrawn)?;
        for incident in self.incidents.iter().flatten() {
            writeln!(f, "  {incident:?}")?;
        }
        for node in &self.nodes {
            writeln!(f, "  {node:?}")?;
        }
        write!(f, "  {:?} {:?} {:?}", self.orders, self.left, self.seen)?;
        self.history.as_ref().map_or(Ok(()), |history| write!(f, "\n  {history:?}"))
    }
}
