//! Options of a message or a call that a behaviour has just asked for.

use std::time::Duration;

use knarr_model::effect;
use knarr_model::headers::HeaderValue;
use knarr_model::{RetryPolicy, RowId};
use uuid::Uuid;

/// A message just asked for: its options.
pub struct Sending<'e>(pub(crate) &'e mut effect::Message);

impl Sending<'_> {
    /// Sets a header.
    pub fn header(self, name: &str, value: impl Into<HeaderValue>) -> Self {
        self.0.headers.set(name, value);
        self
    }

    /// Sets the AMQP routing key.
    pub fn routing_key(self, key: impl Into<String>) -> Self {
        self.0.routing_key = Some(key.into());
        self
    }

    /// Sets how long the message is of use, from when it is sent.
    pub fn time_to_live(self, time: Duration) -> Self {
        self.0.time_to_live = Some(time);
        self
    }

    /// Sets the AMQP priority.
    pub fn priority(self, priority: u8) -> Self {
        self.0.priority = Some(priority);
        self
    }

    /// Sets the correlation id, instead of the one that the message carries by convention.
    pub fn correlation_id(self, id: Uuid) -> Self {
        self.0.correlation_id = Some(id);
        self
    }

    /// The message's id.
    pub fn id(&self) -> Uuid {
        self.0.id
    }
}

/// A call just asked for: its options.
pub struct Asking<'e>(pub(crate) &'e mut effect::Call);

impl Asking<'_> {
    /// Sets how often and how fast it is tried, instead of the activity's own policy.
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.0.retry = Some(policy);
        self
    }

    /// Sets how long one attempt may take, instead of the activity's own deadline.
    pub fn deadline(self, deadline: Duration) -> Self {
        self.0.deadline = Some(deadline);
        self
    }

    /// The call's token, for [`crate::Effects::cancel_one`].
    pub fn token(&self) -> RowId {
        self.0.token
    }
}
