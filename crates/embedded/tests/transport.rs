//! The shared transport suite against queues in the SQLite file.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use knarr_model::topology::QueueKind;
use knarr_testkit::conformance::transport::{Broker, TransportUnderTest};

struct Fresh;

#[async_trait]
impl TransportUnderTest for Fresh {
    async fn fresh(&self) -> Broker {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (store, transport) = support::open(&folder.path().join("knarr.db")).await;
        Broker {
            other: Arc::new(transport.clone()),
            transport: Arc::new(transport),
            queue: QueueKind::default(),
            keep: Box::new((store, folder)),
        }
    }
}

knarr_testkit::transport_conformance!(Fresh);
