//! Identity: what names a message, an instance, a stored row and a running process.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The name of a saga or a receive endpoint, cheap to clone.
pub type Name = Arc<str>;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id as 16 bytes in network order.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map($name)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                $name(id)
            }
        }
    };
}

uuid_id! {
    /// Names one message; kept through every redelivery and republish.
    MessageId
}
uuid_id! {
    /// Names one saga instance within its saga, through all its runs.
    InstanceId
}
uuid_id! {
    /// Names one stored row that waits: a timer, a task, a parked message, a chunk.
    RowId
}
uuid_id! {
    /// Names one start of one process; made at each start and never reused.
    NodeId
}

/// The namespace under which Knarr derives its name-based ids (UUIDv5).
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6b6e_6172_7200_5000_8000_7361_6761_7321);

/// A UUIDv5 over `parts`, each preceded by its length so that no two lists collide.
pub fn derived_id(parts: &[&[u8]]) -> Uuid {
    let mut text = Vec::with_capacity(parts.iter().map(|p| p.len() + 4).sum());
    for part in parts {
        text.extend_from_slice(&(part.len() as u32).to_be_bytes());
        text.extend_from_slice(part);
    }
    Uuid::new_v5(&NAMESPACE, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_do_not_collide_on_shifted_parts() {
        assert_ne!(derived_id(&[b"ab", b"c"]), derived_id(&[b"a", b"bc"]));
        assert_eq!(derived_id(&[b"ab", b"c"]), derived_id(&[b"ab", b"c"]));
    }
}
