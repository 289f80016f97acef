//! The table by state and event: which row takes what, looked up without searching.

use std::collections::BTreeMap;

use crate::event::Source;
use crate::table::{Place, Table, Trigger};

/// What the table says about one event.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Row numbers by state number; the last place is that of `Initial`.
    rows: Vec<Option<usize>>,
    /// Joins that the event contributes to, and as which of their sources.
    pub(crate) feeds: Vec<Feed>,
}

/// One event as a source of one join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Feed {
    pub(crate) join: usize,
    pub(crate) source: u32,
}

impl Entry {
    fn new(states: usize) -> Entry {
        Entry { rows: vec![None; states + 1], feeds: Vec::new() }
    }

    /// The row for this state, by number.
    pub(crate) fn row(&self, state: usize) -> Option<usize> {
        self.rows[state]
    }

    /// The row that makes an instance.
    pub(crate) fn start(&self) -> Option<usize> {
        self.rows[self.rows.len() - 1]
    }
}

/// Every event of a machine.
pub(crate) struct Index {
    pub(crate) messages: Vec<Entry>,
    pub(crate) done: BTreeMap<&'static str, Entry>,
    pub(crate) failed: BTreeMap<&'static str, Entry>,
    pub(crate) timers: BTreeMap<&'static str, Entry>,
    pub(crate) joins: Vec<Entry>,
    /// Message numbers by URN.
    urns: BTreeMap<String, usize>,
    /// The same by URN in lower case: names on the wire are matched in any case.
    lower_urns: BTreeMap<String, usize>,
}

impl Index {
    pub(crate) fn of<M>(table: &Table<M>, states: usize) -> Index {
        let entry = || Entry::new(states);
        let mut index = Index {
            messages: table.messages.iter().map(|_| entry()).collect(),
            done: BTreeMap::new(),
            failed: BTreeMap::new(),
            timers: BTreeMap::new(),
            joins: table.joins.iter().map(|_| entry()).collect(),
            urns: BTreeMap::new(),
            lower_urns: BTreeMap::new(),
        };
        for (at, taken) in table.messages.iter().enumerate() {
            index.urns.insert(taken.kind.urn.clone(), at);
            index.lower_urns.insert(taken.kind.urn.to_ascii_lowercase(), at);
        }
        // A row for one state goes before a row for any state, and among equals the first one.
        for any in [false, true] {
            for (at, line) in table.rows.iter().enumerate() {
                let places: Vec<usize> = match &line.place {
                    Place::Initially if !any => vec![states],
                    Place::In(numbers) if !any => numbers.clone(),
                    Place::Any if any => (0..states).collect(),
                    _ => continue,
                };
                let entry = index.entry_of(&line.on, states);
                for place in places {
                    entry.rows[place].get_or_insert(at);
                }
            }
        }
        index.feed(table, states);
        index
    }

    fn entry_of(&mut self, on: &Trigger, states: usize) -> &mut Entry {
        let entry = || Entry::new(states);
        match on {
            Trigger::Message(at) => &mut self.messages[*at],
            Trigger::Join(at) => &mut self.joins[*at],
            Trigger::Done(call) => self.done.entry(call).or_insert_with(entry),
            Trigger::Failed(call) => self.failed.entry(call).or_insert_with(entry),
            Trigger::Timer(timer) => self.timers.entry(timer).or_insert_with(entry),
        }
    }

    fn feed<M>(&mut self, table: &Table<M>, states: usize) {
        for (join, sources) in table.joins.iter().map(|join| &join.sources).enumerate() {
            for (number, source) in sources.iter().enumerate() {
                let feed = Feed { join, source: number as u32 };
                let triggers = match source {
                    Source::Message(fact) => {
                        let urn = (fact.describe)().urn;
                        self.urns.get(&urn).map(|at| Trigger::Message(*at)).into_iter().collect()
                    }
                    Source::Done(call) => vec![Trigger::Done(call.name)],
                    Source::Failed(call) => vec![Trigger::Failed(call.name)],
                    Source::Ended(call) => {
                        vec![Trigger::Done(call.name), Trigger::Failed(call.name)]
                    }
                    Source::Timer(timer) => vec![Trigger::Timer(timer)],
                };
                for trigger in triggers {
                    self.entry_of(&trigger, states).feeds.push(feed);
                }
            }
        }
    }

    /// The first of a message's types that the machine takes, by number.
    pub(crate) fn message<'u>(&self, urns: impl IntoIterator<Item = &'u String>) -> Option<usize> {
        let of = |urn: &String| {
            let exact = self.urns.get(urn);
            exact.or_else(|| self.lower_urns.get(&urn.to_ascii_lowercase())).copied()
        };
        urns.into_iter().find_map(of)
    }
}
