//! A machine made ready: its table, indexed, behind the interface that the engine knows.

use std::any::Any;
use std::sync::Arc;

use knarr_model::incident::FailurePolicy;
use knarr_model::instance::{FINAL, PURGED};
use knarr_model::shape::Shape;
use knarr_model::topology::Subscription;
use knarr_model::{Book, Envelope, Instance, InstanceId, Name, RetryPolicy, Script, Statement};

use crate::check::{self, Finding};
use crate::decide::{At, Machinery, Standing};
use crate::definition::{BadMessage, Correlated, Definition, Live, Target};
use crate::index::Index;
use crate::machine::Machine;
use crate::message::{Correlation, decode_as};
use crate::states::States;
use crate::table::Table;

/// Makes a machine ready for the engine. Runs `define` once.
pub fn definition<M: Machine>() -> Arc<dyn Definition> {
    definition_with(M::define)
}

/// Makes a machine ready whose table depends on settings: `define` is called once, instead of
/// the machine's own, and its behaviours may be closures that carry what was set.
///
/// ```
/// use knarr_saga::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Message)]
/// # #[message(namespace = "Shop")]
/// # struct Ring { correlation_id: uuid::Uuid }
/// # #[derive(Timer)]
/// # struct Snooze;
/// # #[derive(Clone, Copy, States)]
/// # enum Step { Ringing }
/// # #[derive(Clone, Serialize, Deserialize)]
/// # struct Alarm;
/// fn table(m: &mut Table<Alarm>, snooze: std::time::Duration) {
///     m.initially::<Ring>()
///         .create(move |_, out| {
///             out.schedule(Snooze, snooze);
///             Alarm
///         })
///         .go_to(Step::Ringing);
///     m.during([Step::Ringing]).after(Snooze).finish();
/// }
///
/// impl Machine for Alarm {
///     type State = Step;
///     fn define(m: &mut Table<Self>) {
///         table(m, minutes(9));
///     }
/// }
/// let definition = knarr_saga::definition_with::<Alarm>(|m| table(m, minutes(2)));
/// assert_eq!(definition.findings(), []);
/// ```
pub fn definition_with<M: Machine>(define: impl FnOnce(&mut Table<M>)) -> Arc<dyn Definition> {
    let mut table = Table::default();
    define(&mut table);
    let index = Index::of(&table, M::State::NAMES.len());
    let name = Name::from(M::name());
    Arc::new(Defined(Arc::new(Machinery { name, table, index })))
}

struct Defined<M: Machine>(Arc<Machinery<M>>);

impl<M: Machine> Definition for Defined<M> {
    fn name(&self) -> &Name {
        &self.0.name
    }

    fn version(&self) -> u32 {
        self.0.table.settings.version
    }

    fn subscriptions(&self) -> Vec<Subscription> {
        self.0.table.messages.iter().map(|taken| Subscription::to(&taken.kind.name)).collect()
    }

    fn calls(&self) -> Vec<String> {
        self.0.table.calls.keys().map(|call| (*call).to_owned()).collect()
    }

    fn retry(&self) -> RetryPolicy {
        self.0.table.settings.retry.clone()
    }

    fn is_ordered(&self) -> bool {
        self.0.table.settings.ordered
    }

    fn shape(&self) -> Shape {
        crate::shape::shape(&self.0.name, &self.0.table)
    }

    fn failures(&self) -> FailurePolicy {
        self.0.table.settings.failures
    }

    fn purge_steps(&self, instance: InstanceId, run: u32) -> Vec<Statement> {
        self.0.table.sql.purge_steps(instance, run)
    }

    fn migrations(&self) -> Vec<Script> {
        self.0.table.sql.migrations(&self.0.name)
    }

    fn findings(&self) -> Vec<Finding> {
        check::findings(&self.0.name, &self.0.table, &self.0.index)
    }

    fn key_is_reusable(&self, name: &str) -> bool {
        self.0.table.settings.reusable_keys.contains(&name)
    }

    fn correlate(&self, envelope: &Envelope) -> Result<Correlated, BadMessage> {
        let at = self
            .0
            .index
            .message(&envelope.message_types)
            .ok_or_else(|| BadMessage::UnknownType(envelope.message_types.clone()))?;
        let taken = &self.0.table.messages[at];
        let bad = |reason| BadMessage::Payload { event: taken.kind.exchange.clone(), reason };
        let payload = (taken.kind.decode)(&envelope.message).map_err(bad)?;
        let payload: &dyn Any = &*payload;
        let nobody = |why: &str| bad(format!("it names no instance of {}: {why}", self.0.name));
        let by_id = |id: Option<uuid::Uuid>, member: &str| {
            id.map(|id| Target::Id(InstanceId(id)))
                .ok_or_else(|| nobody(&format!("{member} is absent or zero")))
        };
        let target = match &taken.correlation {
            Some(Correlation::Id(read)) => by_id(read(payload), "the id declared for it")?,
            Some(Correlation::Key(name, read)) => match read(payload) {
                value if value.is_empty() => {
                    return Err(nobody(&format!("its key `{name}` is empty")));
                }
                value => Target::Key(knarr_model::commit::Key { name: (*name).to_owned(), value }),
            },
            None => {
                let member = "its correlation_id (or event_id, command_id)";
                by_id((taken.kind.conventional_id)(payload), member)?
            }
        };
        Ok(Correlated {
            event: taken.kind.exchange.clone(),
            urn: taken.kind.urn.clone(),
            starts: self.0.index.messages[at].start().is_some(),
            target,
        })
    }

    fn has_state(&self, state: &str) -> bool {
        matches!(state, FINAL | PURGED) || M::State::from_name(state).is_some()
    }

    fn open(&self, id: InstanceId, stored: Option<&Instance>) -> Result<Box<dyn Live>, String> {
        let Some(stored) = stored else {
            return Ok(Box::new(Standing::nowhere(self.0.clone(), id, 1, 0)));
        };
        let own = self.version();
        if stored.definition_version > own {
            return Err(format!(
                "{} {id} was written by definition version {}, this is version {own}",
                self.0.name, stored.definition_version
            ));
        }
        let (at, data) = match stored.state.as_str() {
            FINAL => (At::Final, None),
            PURGED => (At::Purged, None),
            name => {
                let state = M::State::from_name(name).ok_or_else(|| {
                    format!(
                        "{} {id} is in state `{name}`, which version {own} does not have",
                        self.0.name
                    )
                })?;
                let data = decode_as::<M>(&stored.data).map_err(|why| {
                    format!("the data of {} {id} do not fit version {own}: {why}", self.0.name)
                })?;
                (At::In(state.number()), Some(data))
            }
        };
        Ok(Box::new(Standing::stored(self.0.clone(), stored, at, data)))
    }

    fn reopen(&self, over: &Instance) -> Box<dyn Live> {
        let mut standing =
            Standing::nowhere(self.0.clone(), over.id, over.run.saturating_add(1), over.version);
        standing.book = Book { applied: over.book.applied, ..Book::default() };
        Box::new(standing)
    }
}
