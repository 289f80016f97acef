//! An event's payload, decoded for the row that takes it.

use crate::definition::{BadMessage, Event, Verdict};
use crate::message::Payload;
use crate::table::{Table, Taken};

/// The event's payload for the row that runs; `()` where it carries nothing or no row runs.
pub(crate) fn payload<M>(
    table: &Table<M>,
    event: &Event<'_>,
    taken: Option<&Taken>,
    runs: bool,
) -> Result<Payload, Verdict> {
    match (event, taken) {
        (Event::Message(envelope), Some(taken)) => {
            (taken.kind.decode)(&envelope.message).map_err(|reason| {
                Verdict::Bad(BadMessage::Payload { event: taken.kind.exchange.clone(), reason })
            })
        }
        (Event::Done { call, output, .. }, _) if runs => match table.calls.get(call) {
            Some(kind) => (kind.decode)(output).map_err(|why| {
                Verdict::Broken(vec![format!("the answer to call {call} does not fit"), why])
            }),
            None => Ok(Box::new(())),
        },
        (Event::Failed { failure, .. }, _) if runs => Ok(Box::new((*failure).clone())),
        _ => Ok(Box::new(())),
    }
}
