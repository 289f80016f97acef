//! Queues and bindings: which queues a message reaches that is published to an exchange.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;

use crate::error::Error;
use crate::rows::{get, json};

const QUEUES: &str = "SELECT name FROM queue";
const BINDINGS: &str = "SELECT source, destination FROM binding";
const ADD_QUEUES: &str = "INSERT INTO queue (name) SELECT value FROM json_each(?1) WHERE true
    ON CONFLICT (name) DO NOTHING";
const ADD_BINDINGS: &str = "INSERT INTO binding (source, destination)
    SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE true
    ON CONFLICT (source, destination) DO NOTHING";

/// Queues by name, and which exchange passes on to which. An exchange feeds the queue of its own
/// name, as MassTransit declares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    queues: BTreeSet<String>,
    bindings: BTreeMap<String, BTreeSet<String>>,
}

impl Topology {
    /// What is stored.
    pub(crate) async fn read(connection: &mut SqliteConnection) -> Result<Topology, Error> {
        let mut topology = Topology::default();
        for row in &sqlx::query(QUEUES).fetch_all(&mut *connection).await? {
            topology.add_queue(get(row, 0)?);
        }
        for row in &sqlx::query(BINDINGS).fetch_all(connection).await? {
            topology.bind(get(row, 0)?, get(row, 1)?);
        }
        Ok(topology)
    }

    /// Stores what is declared here; what is stored already stays.
    pub(crate) async fn write(&self, connection: &mut SqliteConnection) -> Result<(), Error> {
        sqlx::query(ADD_QUEUES).bind(json(&self.queues)?).execute(&mut *connection).await?;
        let pairs: Vec<_> = self
            .bindings
            .iter()
            .flat_map(|(source, all)| all.iter().map(move |destination| (source, destination)))
            .collect();
        sqlx::query(ADD_BINDINGS).bind(json(&pairs)?).execute(connection).await?;
        Ok(())
    }

    /// Declares a queue.
    pub(crate) fn add_queue(&mut self, name: String) {
        self.queues.insert(name);
    }

    /// Declares that `source` passes on to `destination`.
    pub(crate) fn bind(&mut self, source: String, destination: String) {
        self.bindings.entry(source).or_default().insert(destination);
    }

    /// Adds everything declared in `other`.
    pub(crate) fn join(&mut self, other: Topology) {
        self.queues.extend(other.queues);
        for (source, all) in other.bindings {
            self.bindings.entry(source).or_default().extend(all);
        }
    }

    /// Whether everything declared in `other` is declared here.
    pub(crate) fn covers(&self, other: &Topology) -> bool {
        self.queues.is_superset(&other.queues)
            && other.bindings.iter().all(|(source, all)| {
                self.bindings.get(source).is_some_and(|have| have.is_superset(all))
            })
    }

    /// Whether the queue exists.
    pub(crate) fn has_queue(&self, name: &str) -> bool {
        self.queues.contains(name)
    }

    /// The queues that a message published to `exchange` reaches; to the nameless exchange: the
    /// queue that the routing key names. Exchanges bound in a circle are visited once.
    pub(crate) fn reached<'a>(&'a self, exchange: &'a str, routing_key: &'a str) -> Vec<&'a str> {
        let start = if exchange.is_empty() { routing_key } else { exchange };
        let mut seen = BTreeSet::from([start]);
        let mut ahead = vec![start];
        while let Some(at) = ahead.pop() {
            if exchange.is_empty() {
                break;
            }
            for next in self.bindings.get(at).into_iter().flatten() {
                if seen.insert(next) {
                    ahead.push(next);
                }
            }
        }
        seen.into_iter().filter(|name| self.queues.contains(*name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mt_319_exchanges_bound_in_a_circle_deliver_once() {
        let mut topology = Topology::default();
        for (source, destination) in [("A:B", "A:Base"), ("A:Base", "A:B"), ("A:Base", "shop")] {
            topology.bind(source.to_owned(), destination.to_owned());
        }
        topology.add_queue("shop".to_owned());
        assert_eq!(topology.reached("A:B", ""), ["shop"]);
        assert_eq!(topology.reached("", "shop"), ["shop"]);
        assert!(topology.reached("", "A:Base").is_empty(), "the nameless exchange follows nothing");
        assert!(topology.reached("A:Unknown", "").is_empty());
    }
}
