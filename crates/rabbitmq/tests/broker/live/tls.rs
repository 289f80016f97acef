//! Over TLS, with an authority of one's own and a certificate on both sides.

use std::time::Duration;

use knarr_model::HeaderValue;
use knarr_model::ports::transport::Published;
use knarr_model::ports::{Publisher as _, Transport as _};
use knarr_model::topology::QueueKind;
use knarr_rabbitmq::{Identity, Settings};
use knarr_testkit::services::Certificates;
use knarr_testkit::services::rabbitmq::Private;

use crate::parts::{confirmed, endpoint, healthy, numbers, open, ping, taken, unhealthy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pe_046_with_a_certificate_on_both_sides_messages_and_headers_pass() {
    let certificates = Certificates::make();
    let (mut broker, port) = Private::launch_with_tls(&certificates).await;
    assert_ne!(broker.port(), port);
    let mut settings = Settings::new(format!("amqps://guest:guest@localhost:{port}/%2f"));
    settings.deadline = Duration::from_secs(5);
    // Whose certificate nobody vouches for is not spoken to; nor does the broker speak to us.
    let stranger = open(settings.clone());
    unhealthy(&stranger, "localhost").await;
    settings.authorities = Some(certificates.read("authority.pem"));
    let anonymous = open(settings.clone());
    for transport in [&stranger, &anonymous] {
        let refused = transport.publish(&[ping(0)]).await;
        assert!(matches!(refused[0], Published::Unknown(_)), "{refused:?}");
    }
    let identity = Identity {
        certificate: certificates.read("client.pem"),
        key: certificates.read("client.key"),
    };
    settings.identity = Some(identity);
    let transport = open(settings);
    assert!(transport.address("q").starts_with(&format!("rabbitmqs://localhost:{port}/")));
    let mut consumer = transport.consume(&endpoint("tls", QueueKind::Quorum)).await.expect("one");
    let mut message = ping(1);
    message.headers.set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    message.headers.set("bytes", HeaderValue::Bytes(vec![0, 255]));
    assert_eq!(transport.publish(std::slice::from_ref(&message)).await, confirmed(1));
    assert_eq!(taken(&mut *consumer, 1).await[0].headers, message.headers);
    // It is the same after a restart: nothing of it is forgotten.
    broker.remember_queues().await;
    broker.kill9().await;
    broker.start().await;
    healthy(&transport).await;
    assert_eq!(transport.publish(&[ping(2)]).await, confirmed(1));
    assert!(numbers(&taken(&mut *consumer, 1).await)[0] <= 2);
}
