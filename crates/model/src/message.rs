//! What makes a Rust type a message: its name on the wire and its conventional correlation.

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

pub use crate::names::TypeName;

/// A type that travels as a message. Derive it: `#[derive(Message)] #[message(namespace = "Shop")]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a message",
    note = "add #[derive(Message, Serialize, Deserialize)] to `{Self}`"
)]
pub trait Message: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The type's name, from which its URN and its exchange follow.
    fn type_name() -> TypeName;

    /// The base types that this message also is, nearest first (behaviours 17).
    fn base_types() -> Vec<TypeName> {
        Vec::new()
    }

    /// Whether the type has a member that [`Message::conventional_id`] reads; a machine is checked
    /// at start for messages that could name no instance.
    const HAS_ID: bool = false;

    /// The id by convention: `CorrelationId`, `EventId`, `CommandId`, in that order (behaviours 4).
    fn conventional_id(&self) -> Option<Uuid> {
        None
    }

    /// `urn:message:Namespace:Name`.
    fn urn() -> String {
        Self::type_name().urn()
    }

    /// The exchange that the type is published to.
    fn exchange() -> String {
        Self::type_name().exchange()
    }
}

/// An id member that may be absent: what a conventional correlation reads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a message's id",
    label = "an id is a `Uuid` or an `Option<Uuid>`"
)]
pub trait IdMember {
    /// The id, if there is one; the zero id counts as absent.
    fn id(&self) -> Option<Uuid>;
}

impl IdMember for Uuid {
    fn id(&self) -> Option<Uuid> {
        (!self.is_nil()).then_some(*self)
    }
}

impl IdMember for Option<Uuid> {
    fn id(&self) -> Option<Uuid> {
        self.filter(|id| !id.is_nil())
    }
}
