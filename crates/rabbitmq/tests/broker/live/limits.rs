//! A delivery limit below ours: nothing is lost, and whoever reads the reason knows what to change.

use std::time::Duration;

use knarr_model::Class;
use knarr_model::ports::transport::Settlement;
use knarr_model::ports::{Publisher as _, Transport as _};
use knarr_model::topology::QueueKind;
use knarr_rabbitmq::Settings;
use knarr_testkit::services::rabbitmq::Private;

use crate::parts::{confirmed, endpoint, expect_quiet, numbers, open, ping};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_035_pe_042_a_policy_with_a_lower_limit_is_told_with_the_message_it_gave_up() {
    let broker = Private::launch().await;
    let low = ["set_policy", "low", "^few$", r#"{"delivery-limit":2}"#, "--apply-to", "queues"];
    broker.ctl(&low).await.expect("set");
    let transport = open(Settings::new(broker.url()));
    let mut consumer =
        transport.consume(&endpoint("few", QueueKind::Quorum)).await.expect("a consumer");
    assert_eq!(transport.publish(&[ping(0), ping(1)]).await, confirmed(2));
    // Somebody gives the first back again and again; the second is taken.
    let (mut dead, mut taken, mut returned) = (None, Vec::new(), 0);
    while dead.is_none() {
        let next = tokio::time::timeout(Duration::from_secs(30), consumer.next(5)).await;
        for delivery in next.expect("something comes").expect("deliveries") {
            let number = numbers(std::slice::from_ref(&delivery))[0];
            let how = match (&delivery.content, number) {
                (Ok(_), 0) => {
                    returned += 1;
                    assert!(returned < 10, "the policy does not hold");
                    Settlement::Return
                }
                (Ok(_), _) => {
                    taken.push(number);
                    Settlement::Ack
                }
                (Err(_), _) => Settlement::Ack,
            };
            assert_eq!(consumer.settle(&[(delivery.receipt, how)]).await, 1);
            if delivery.content.is_err() {
                dead = Some(delivery);
            }
        }
    }
    let dead = dead.expect("it came the other way");
    assert_eq!((numbers(std::slice::from_ref(&dead)), &*taken), (vec![0], &[1][..]));
    assert_eq!(dead.body, ping(0).body, "nothing of it is lost");
    let why = dead.content.expect_err("given up");
    assert_eq!(why.class, Class::DeliveryLimit);
    let seen = format!("more than {returned} times");
    for part in ["delivery_limit", &*seen, "1000", "policy", "raise it"] {
        assert!(why.reason.contains(part), "{part}: {}", why.reason);
    }
    expect_quiet(&mut *consumer).await;
}
