//! A saga that is found by its number, a business key.

use std::sync::Arc;

use knarr_saga::definition::Definition;
use knarr_saga::definition_with;
use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};

/// Opens a ticket, or counts on an open one.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct Open {
    pub(crate) number: String,
    pub(crate) by: u32,
    /// Another key that the new ticket takes.
    pub(crate) alias: Option<String>,
}

/// Counts on a ticket.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct Add {
    pub(crate) number: String,
    pub(crate) by: u32,
}

/// Changes the member that the key was read from, and takes another key besides.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct Rename {
    pub(crate) number: String,
    pub(crate) to: String,
    pub(crate) alias: Option<String>,
}

/// Counts on a ticket that is named by an alias.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct AddByAlias {
    pub(crate) alias: String,
    pub(crate) by: u32,
}

/// Ends a ticket.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct Close {
    pub(crate) number: String,
}

/// Published at each count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct Counted {
    pub(crate) number: String,
    pub(crate) by: u32,
}

/// A ticket's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, States)]
pub(crate) enum Desk {
    Opened,
}

/// A ticket: its number as it is now, and what was counted, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) number: String,
    pub(crate) counted: Vec<u32>,
}

impl Machine for Ticket {
    type State = Desk;

    fn define(m: &mut Table<Self>) {
        table(m, false);
    }
}

/// The saga as the engine takes it; `reusable` frees a number when its ticket is closed.
pub(crate) fn ticket(reusable: bool) -> Arc<dyn Definition> {
    definition_with::<Ticket>(|m| table(m, reusable))
}

/// The saga with something added to its table.
pub(crate) fn ticket_with(more: impl FnOnce(&mut Table<Ticket>)) -> Arc<dyn Definition> {
    definition_with::<Ticket>(|m| {
        table(m, false);
        more(m);
    })
}

fn table(m: &mut Table<Ticket>, reusable: bool) {
    use Desk::Opened;
    m.on_failure(OnFailure::Quarantine);
    let key = m.correlate_by_key::<Open>("number", |e| e.number.clone());
    if reusable {
        key.reusable();
    }
    m.correlate_by_key::<Add>("number", |e| e.number.clone());
    m.correlate_by_key::<Rename>("number", |e| e.number.clone());
    m.correlate_by_key::<Close>("number", |e| e.number.clone());
    m.correlate_by_key::<AddByAlias>("alias", |e| e.alias.clone());
    m.initially::<Open>().create(open).go_to(Opened);
    m.during([Opened]).on::<Open>().then(|ticket, e, out| ticket.count(e.by, out)).stay();
    m.during([Opened]).on::<Add>().then(|ticket, e, out| ticket.count(e.by, out)).stay();
    m.during([Opened]).on::<AddByAlias>().then(|ticket, e, out| ticket.count(e.by, out)).stay();
    m.during([Opened]).on::<Rename>().then(rename).stay();
    m.during([Opened]).on::<Close>().finish();
}

fn open(e: &Open, out: &mut Effects<Ticket>) -> Ticket {
    let mut ticket = Ticket { number: e.number.clone(), counted: Vec::new() };
    if let Some(alias) = &e.alias {
        out.take_key("alias", alias.clone());
    }
    ticket.count(e.by, out);
    ticket
}

fn rename(ticket: &mut Ticket, e: &Rename, out: &mut Effects<Ticket>) {
    ticket.number.clone_from(&e.to);
    if let Some(alias) = &e.alias {
        out.take_key("alias", alias.clone());
    }
}

impl Ticket {
    fn count(&mut self, by: u32, out: &mut Effects<Ticket>) {
        self.counted.push(by);
        out.publish(Counted { number: self.number.clone(), by });
    }
}
