//! Message types as the table knows them: how one is recognised, decoded and correlated.

use std::any::{Any, TypeId};

use knarr_model::message::IdMember;
use knarr_model::{Message, TypeName};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

/// A payload whose type the row that takes it knows.
pub(crate) type Payload = Box<dyn Any>;

/// Reads a payload; an error names the member and says what is wrong there.
pub(crate) type Decode = fn(&RawValue) -> Result<Payload, String>;

/// A message type with its Rust type erased.
#[derive(Clone, Debug)]
pub(crate) struct MessageType {
    /// Which Rust type it is.
    pub(crate) rust_type: TypeId,
    /// Its name.
    pub(crate) name: TypeName,
    /// Its URN.
    pub(crate) urn: String,
    /// Its exchange; the event's name in the journal.
    pub(crate) exchange: String,
    /// Whether a member of it is an id by convention.
    pub(crate) has_id: bool,
    /// Reads the payload.
    pub(crate) decode: Decode,
    /// The id by convention.
    pub(crate) conventional_id: fn(&dyn Any) -> Option<Uuid>,
}

impl MessageType {
    pub(crate) fn of<E: Message>() -> MessageType {
        let name = E::type_name();
        MessageType {
            rust_type: TypeId::of::<E>(),
            urn: name.urn(),
            exchange: name.exchange(),
            name,
            has_id: E::HAS_ID,
            decode: decode::<E>,
            conventional_id: |payload| payload.downcast_ref::<E>()?.conventional_id(),
        }
    }
}

/// Reads a `T` out of a payload.
type Read<T> = Box<dyn Fn(&dyn Any) -> T + Send + Sync>;

/// How a message names its instance.
pub(crate) enum Correlation {
    /// By id; `None` names no instance.
    Id(Read<Option<Uuid>>),
    /// By a business key: its name, and its value (empty names no instance).
    Key(&'static str, Read<String>),
}

impl Correlation {
    pub(crate) fn by_id<E: Message, I: IdMember>(
        read: impl Fn(&E) -> I + Send + Sync + 'static,
    ) -> Correlation {
        Correlation::Id(Box::new(move |payload| {
            payload.downcast_ref::<E>().and_then(|event| read(event).id())
        }))
    }

    pub(crate) fn by_key<E: Message, V: Into<String>>(
        name: &'static str,
        read: impl Fn(&E) -> V + Send + Sync + 'static,
    ) -> Correlation {
        Correlation::Key(
            name,
            Box::new(move |payload| {
                payload.downcast_ref::<E>().map(|event| read(event).into()).unwrap_or_default()
            }),
        )
    }
}

/// Reads JSON as `T`; an error names the member and says what is wrong there.
pub(crate) fn decode<T: DeserializeOwned + 'static>(json: &RawValue) -> Result<Payload, String> {
    decode_as::<T>(json).map(|value| Box::new(value) as Payload)
}

/// Reads JSON as `T`; an error names the member and says what is wrong there.
pub(crate) fn decode_as<T: DeserializeOwned>(json: &RawValue) -> Result<T, String> {
    serde_json::from_str::<T>(json.get()).map_err(|plain| {
        // The path costs time, so it is looked for only once something is wrong.
        let mut reader = serde_json::Deserializer::from_str(json.get());
        match serde_path_to_error::deserialize::<_, T>(&mut reader) {
            Err(error) if error.path().iter().next().is_some() => {
                format!("member `{}`: {}", error.path(), error.inner())
            }
            _ => plain.to_string(),
        }
    })
}
