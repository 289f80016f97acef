//! What a decision asks for, as data; `receive/effects` in the engine turns it into rows.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::headers::Headers;
use crate::ids::RowId;
use crate::message::TypeName;
use crate::retry::RetryPolicy;
use crate::statement::Statement;

/// One thing that a behaviour asked for. Order is kept.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A message leaves.
    Message(Message),
    /// A timer is set; a timer of the same name is replaced.
    Schedule {
        /// The timer's name.
        timer: String,
        /// When it is due.
        due: DateTime<Utc>,
        /// The stored row's id, and the token.
        token: RowId,
        /// The row that this one replaces.
        replaces: Option<RowId>,
    },
    /// A live timer is cancelled.
    Unschedule {
        /// The stored row.
        token: RowId,
    },
    /// An activity is asked for.
    Call(Call),
    /// An open call is withdrawn, or cancelled where it runs.
    Withdraw {
        /// The stored row.
        token: RowId,
    },
    /// A statement on the saga's own tables is carried out within the commit.
    Sql(Statement),
    /// The run is over.
    Finish,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id: derived from its cause, so that deciding again gives the same.
    pub id: Uuid,
    /// The type, then its base types.
    pub types: Vec<TypeName>,
    /// The payload.
    pub body: Arc<RawValue>,
    /// Where it goes.
    pub to: Destination,
    /// The sender's correlation id, by convention or by choice.
    pub correlation_id: Option<Uuid>,
    /// Headers set by hand.
    pub headers: Headers,
    /// AMQP routing key.
    pub routing_key: Option<String>,
    /// Time to live.
    pub time_to_live: Option<Duration>,
    /// AMQP priority.
    pub priority: Option<u8>,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    /// To the exchange of its type.
    Publish,
    /// To an address: `queue:name`, `exchange:name` or a full URI.
    Send(String),
    /// To whoever sent the message that is being decided.
    Respond,
}

/// A call: plain data for the activity that answers it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The call's type name.
    pub call: String,
    /// Its data.
    pub payload: Arc<RawValue>,
    /// The stored row's id, and the token.
    pub token: RowId,
    /// How often and how fast it is tried; `None` takes the activity's own policy.
    pub retry: Option<RetryPolicy>,
    /// How long one attempt may take; `None` takes the activity's own.
    pub deadline: Option<Duration>,
}
