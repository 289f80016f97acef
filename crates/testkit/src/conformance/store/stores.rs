//! What a case gets from an adapter: two handles on one fresh store, its readers, its time.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use knarr_model::commit::Slice;
use knarr_model::ids::{InstanceId, Name, RowId};
use knarr_model::ports::store::EndpointState;
use knarr_model::ports::{Clock, Records, Store};
use knarr_model::work::RowKind;

use crate::clock::TokioClock;

/// A piece of an adapter's test code that a case may call.
pub type Hook<A> = Arc<dyn Fn(A) -> BoxFuture<'static, ()> + Send + Sync>;

/// Runs a script beside the store and answers its rows: the columns of each as text.
pub type Sql = Arc<dyn Fn(String) -> BoxFuture<'static, Vec<Vec<String>>> + Send + Sync>;

/// Makes fresh, empty stores. An adapter writes this and `store_conformance!`, and no more.
#[async_trait]
pub trait StoreUnderTest: Send + Sync {
    /// A store without rows, as far as its handles can see.
    async fn fresh(&self) -> Stores;
}

/// One fresh store as a case sees it.
pub struct Stores {
    /// The handle of the case's own node.
    pub store: Arc<dyn Store>,
    /// Another node's handle on the same data, with connections of its own where there are any.
    pub second: Arc<dyn Store>,
    /// The reading side of the same data.
    pub records: Arc<dyn Records>,
    /// The store's time (within a few milliseconds), and fresh ids.
    pub clock: Arc<dyn Clock>,
    /// Lets the store's time pass: sleeps, or moves a clock.
    pub advance: Hook<Duration>,
    /// A lease that a case can wait out: short, but longer than any hiccup of the machine.
    pub lease: Duration,
    /// Sets an endpoint's state in its row and changes nothing else.
    pub force_state: Hook<(Name, EndpointState)>,
    /// Puts something into a slice that the store refuses as data; `None` if there is nothing.
    pub refused: Option<fn(&mut Slice)>,
    /// Makes a stored row unreadable (cut JSON, say); `None` if its rows cannot become so.
    pub corrupt: Option<Hook<(RowKind, RowId)>>,
    /// Makes a stored instance unreadable; `None` if its rows cannot become so.
    pub corrupt_instance: Option<Hook<(Name, InstanceId)>>,
    /// Runs SQL beside the store, in its schema; `None` if it speaks none.
    pub sql: Option<Sql>,
    /// Whatever must live as long as the store: a folder, a schema that is dropped.
    pub keep: Option<Box<dyn Any + Send + Sync>>,
}

impl Stores {
    /// Stores whose time is the machine's.
    pub fn real(
        store: Arc<dyn Store>,
        second: Arc<dyn Store>,
        records: Arc<dyn Records>,
        force_state: Hook<(Name, EndpointState)>,
    ) -> Self {
        let clock = TokioClock::real();
        let sleeping = clock.clone();
        Stores {
            store,
            second,
            records,
            clock: Arc::new(clock),
            advance: Arc::new(move |by| sleeping.sleep(by)),
            lease: Duration::from_millis(2_500),
            force_state,
            refused: None,
            corrupt: None,
            corrupt_instance: None,
            sql: None,
            keep: None,
        }
    }

    /// Says how to put something into a slice that the store refuses as data.
    #[must_use]
    pub fn refusing(mut self, spoil: fn(&mut Slice)) -> Self {
        self.refused = Some(spoil);
        self
    }

    /// Says how to make a stored row unreadable.
    #[must_use]
    pub fn corrupting(mut self, corrupt: Hook<(RowKind, RowId)>) -> Self {
        self.corrupt = Some(corrupt);
        self
    }

    /// Says how to make a stored instance unreadable.
    #[must_use]
    pub fn corrupting_instances(mut self, corrupt: Hook<(Name, InstanceId)>) -> Self {
        self.corrupt_instance = Some(corrupt);
        self
    }

    /// Says how to run SQL beside the store.
    #[must_use]
    pub fn speaking(mut self, sql: Sql) -> Self {
        self.sql = Some(sql);
        self
    }

    /// Keeps `what` alive until the case is over.
    #[must_use]
    pub fn keeping(mut self, what: impl Any + Send + Sync) -> Self {
        self.keep = Some(Box::new(what));
        self
    }
}
