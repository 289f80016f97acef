//! The shared transport suite on RabbitMQ, with quorum and with classic queues.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_model::ports::Transport as _;
use knarr_model::topology::QueueKind;
use knarr_rabbitmq::{Settings, Transport};
use knarr_testkit::clock::TokioClock;
use knarr_testkit::conformance::transport::{Broker, TransportUnderTest};
use knarr_testkit::services::rabbitmq;

struct Fresh(QueueKind);

#[async_trait]
impl TransportUnderTest for Fresh {
    async fn fresh(&self) -> Broker {
        let vhost = rabbitmq::vhost().await;
        let open = || {
            let clock = Arc::new(TokioClock::real());
            Arc::new(Transport::open(Settings::new(vhost.url()), clock).expect("a URL"))
        };
        let (transport, other) = (open(), open());
        assert!(transport.address("q").ends_with(&format!("/{}/q", vhost.name())));
        Broker { transport, other, queue: self.0, keep: Box::new(vhost) }
    }
}

mod quorum {
    use super::*;
    knarr_testkit::transport_conformance!(Fresh(QueueKind::Quorum));
}

mod classic {
    use super::*;
    knarr_testkit::transport_conformance!(Fresh(QueueKind::Classic));
}
