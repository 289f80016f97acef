//! What travels on a lane: messages from the broker and rows that the store handed out.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use knarr_model::envelope::TRACE_PARENT;
use knarr_model::ports::transport::{Receipt, Settler};
use knarr_model::work::{ClaimedRow, EndedCall, ParkedReason, RowKind, Timer};
use knarr_model::{
    Class, Context, Digest, Envelope, Headers, InstanceId, MessageId, Name, NodeId, RowId,
    TraceParent,
};
use knarr_saga::definition::{Correlated, Target};

use crate::hand::Held;
use crate::spans::Begun;

/// One delivery on its way through a lane. It is settled exactly once, after its commit.
#[derive(Clone)]
pub(crate) struct Incoming {
    /// Its journal id: the message's, or the row's.
    pub(crate) id: MessageId,
    pub(crate) digest: Digest,
    pub(crate) body: Body,
    pub(crate) source: Source,
    pub(crate) received_at: DateTime<Utc>,
    /// Tries so far; what they were for is told by [`Incoming::failures`] and [`Incoming::misses`].
    pub(crate) attempt: u32,
    /// Races lost in a row; at three it goes alone.
    pub(crate) lost: u8,
    /// That it is in hand, from its lane's door until it is settled.
    pub(crate) held: Option<Held>,
    /// A process may have died of it: nothing else is decided with it, nor beside it.
    pub(crate) suspect: bool,
    /// Its span, where spans are told: the same however often it is decided.
    pub(crate) span: Option<Begun>,
}

/// Deliveries that the broker counted, from which on a message is written down before it is decided:
/// once is a stop or a lost connection.
const DELIVERED_OFTEN: u32 = 2;

/// What it says.
#[derive(Clone)]
pub(crate) enum Body {
    Message { envelope: Arc<Envelope>, correlated: Correlated },
    Bad { class: Class, reason: String, envelope: Option<Arc<Envelope>> },
    Timer(Box<Timer>),
    Ended(Box<EndedCall>),
}

/// Where it came from, and so how it is settled.
#[derive(Clone)]
pub(crate) enum Source {
    Broker {
        receipt: Receipt,
        settler: Arc<dyn Settler>,
        raw: Raw,
        /// The broker's own count of earlier deliveries.
        delivered: u32,
    },
    /// `placed`: its row names the instance, so that whatever wakes the instance's rows finds it.
    Parked {
        row: RowId,
        claims: i64,
        node: NodeId,
        seq: i64,
        reason: ParkedReason,
        placed: bool,
    },
    Row {
        claimed: ClaimedRow,
        node: NodeId,
    },
}

/// A broker message as it arrived, kept for quarantine.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) content_type: Option<String>,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
    pub(crate) size: usize,
}

impl Incoming {
    /// Whether it has no place in its instance's line yet.
    pub(crate) fn is_new_in_line(&self) -> bool {
        matches!(self.source, Source::Broker { .. } | Source::Parked { placed: false, .. })
    }

    /// Its outcome is durable.
    pub(crate) fn committed(&self) {
        self.held.iter().for_each(Held::committed);
    }

    /// It went back undecided.
    pub(crate) fn returned(&self) {
        self.held.iter().for_each(Held::returned);
    }

    /// The row it was claimed as, if it was.
    pub(crate) fn row(&self) -> Option<RowId> {
        self.claimed().map(|claimed| claimed.id)
    }

    /// The row with its claim, which a commit must still find.
    pub(crate) fn claimed(&self) -> Option<ClaimedRow> {
        match &self.source {
            Source::Broker { .. } => None,
            Source::Parked { row, claims, .. } => {
                Some(ClaimedRow { kind: RowKind::Parked, id: *row, claims: *claims })
            }
            Source::Row { claimed, .. } => Some(*claimed),
        }
    }

    /// Failed attempts to decide it; waiting for a missing instance is none.
    pub(crate) fn failures(&self) -> u32 {
        if self.waited_for_instance() { 0 } else { self.attempt }
    }

    /// How often its instance was not there.
    pub(crate) fn misses(&self) -> u32 {
        if self.waited_for_instance() { self.attempt } else { 0 }
    }

    /// Whether it came so often that processes may be dying of it, before anybody has noticed.
    pub(crate) fn came_often(&self) -> bool {
        matches!(self.source, Source::Broker { delivered, .. } if delivered >= DELIVERED_OFTEN)
    }

    fn waited_for_instance(&self) -> bool {
        matches!(self.source, Source::Parked { reason: ParkedReason::Missing, .. })
    }

    /// The node that claimed it.
    pub(crate) fn claimed_by(&self) -> Option<NodeId> {
        match &self.source {
            Source::Broker { .. } => None,
            Source::Parked { node, .. } | Source::Row { node, .. } => Some(*node),
        }
    }

    /// The instance it is for, as far as that is known without the store.
    pub(crate) fn instance(&self) -> Option<InstanceId> {
        match &self.body {
            Body::Message { correlated, .. } => match &correlated.target {
                Target::Id(id) => Some(*id),
                Target::Key(_) => None,
            },
            Body::Bad { .. } => None,
            Body::Timer(timer) => Some(timer.instance),
            Body::Ended(ended) => Some(ended.task.instance),
        }
    }

    /// What its effects carry on: what it was told itself, from its own span on.
    pub(crate) fn context(&self) -> Context {
        let mut context = match &self.body {
            Body::Message { envelope, .. } => envelope.context(),
            Body::Bad { .. } => Context::default(),
            Body::Timer(timer) => timer.context.clone(),
            Body::Ended(ended) => ended.task.context.clone(),
        };
        if let Some(place) = self.place() {
            context.trace_parent = Some(place.to_string());
        }
        context
    }

    /// The trace context that it came with.
    pub(crate) fn cause(&self) -> (Option<String>, Option<String>) {
        let context = match (&self.body, &self.source) {
            (Body::Timer(timer), _) => timer.context.clone(),
            (Body::Ended(ended), _) => ended.task.context.clone(),
            (Body::Bad { envelope: None, .. }, Source::Broker { raw, .. }) => {
                return (raw.headers.text(TRACE_PARENT), raw.headers.text("tracestate"));
            }
            _ => self.envelope().map(|envelope| envelope.context()).unwrap_or_default(),
        };
        (context.trace_parent, context.trace_state)
    }

    /// Where its span stands.
    pub(crate) fn place(&self) -> Option<TraceParent> {
        self.span.as_ref().map(|span| span.place)
    }

    /// What is logged while it is decided stands under the ids of its span.
    pub(crate) fn logged(&self) -> tracing::Span {
        match self.span.as_ref().filter(|span| span.is_told()) {
            // Whatever level is logged: a span below it would be left out with its ids.
            Some(Begun { place, .. }) => tracing::error_span!(
                "process",
                trace_id = %place.trace_id(),
                span_id = %place.span_id(),
            ),
            None => tracing::Span::none(),
        }
    }

    /// The message as it is put away for later. One that began a trace here goes on in it.
    pub(crate) fn kept(&self) -> Option<Arc<Envelope>> {
        let envelope = self.envelope()?;
        match &self.span {
            Some(Begun { place, parent: None, .. }) => {
                let mut kept = Envelope::clone(envelope);
                kept.headers.set(TRACE_PARENT, place.to_string());
                Some(Arc::new(kept))
            }
            _ => Some(envelope.clone()),
        }
    }

    /// The message, if it is one.
    pub(crate) fn envelope(&self) -> Option<&Arc<Envelope>> {
        match &self.body {
            Body::Message { envelope, .. } => Some(envelope),
            Body::Bad { envelope, .. } => envelope.as_ref(),
            _ => None,
        }
    }
}

/// The lane that an instance travels on.
pub(crate) fn lane_of(instance: InstanceId, lanes: usize) -> usize {
    let bytes = instance.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (hash % lanes.max(1) as u64) as usize
}

/// The id that a key's instance has at a generation: two starters collide on it (engine.md, Identity).
pub(crate) fn keyed_instance(saga: &Name, name: &str, value: &str, generation: i64) -> InstanceId {
    InstanceId(knarr_model::ids::derived_id(&[
        b"key",
        saga.as_bytes(),
        name.as_bytes(),
        value.as_bytes(),
        &generation.to_be_bytes(),
    ]))
}
