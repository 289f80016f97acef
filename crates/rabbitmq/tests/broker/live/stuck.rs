//! Consumers that seem to live and get nothing, or settle nothing; channels that the broker closes.

use std::collections::BTreeSet;
use std::time::Duration;

use knarr_model::ports::transport::Settlement;
use knarr_model::ports::{Delivery, Publisher as _, Transport as _};
use knarr_model::topology::QueueKind;
use knarr_rabbitmq::Settings;
use knarr_testkit::services::rabbitmq::{self, Private};

use crate::parts::{
    confirmed, endpoint, expect_quiet, healthy, numbers, open, ping, taken, unhealthy,
};

fn acks(some: &[Delivery]) -> Vec<(knarr_model::ports::transport::Receipt, Settlement)> {
    some.iter().map(|it| (it.receipt, Settlement::Ack)).collect()
}

/// The broker closes the channel with 406, as after a bad tag, because a delivery was held too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_024_row_026_a_channel_closed_by_the_broker_is_made_anew_and_old_tags_are_void() {
    let broker = Private::launch().await;
    for (name, millis) in [("consumer_timeout", 1_500), ("channel_tick_interval", 300)] {
        let set = format!("application:set_env(rabbit, {name}, {millis})");
        broker.eval(&set).await.expect("set");
    }
    let transport = open(Settings::new(broker.url()));
    let mut consumer =
        transport.consume(&endpoint("held", QueueKind::Quorum)).await.expect("a consumer");
    let pids = "lists:sort(rabbit_networking:connections())";
    assert_eq!(transport.publish(&[ping(0), ping(1), ping(2)]).await, confirmed(3));
    let before = broker.eval(pids).await.expect("connections");
    let mut held = Vec::new();
    while held.len() < 3 {
        held.extend(consumer.next(3).await.expect("deliveries"));
    }
    let mut again = Vec::new();
    while again.len() < 3 {
        let next = tokio::time::timeout(Duration::from_secs(30), consumer.next(3)).await;
        let next = next.expect("they come again").expect("deliveries");
        assert!(next.iter().all(|it| it.receipt.generation > held[0].receipt.generation));
        // An old tag would ack a message of the new channel.
        assert_eq!(consumer.settle(&acks(&held)).await, 0);
        assert_eq!(consumer.settle(&acks(&next)).await, next.len());
        again.extend(next);
    }
    assert_eq!(numbers(&again), numbers(&held));
    assert_eq!(broker.eval(pids).await.expect("connections"), before, "only the channel is new");
    healthy(&transport).await;
    assert_eq!(transport.publish(&[ping(3)]).await, confirmed(1));
    assert_eq!(numbers(&taken(&mut *consumer, 1).await), [3]);
    expect_quiet(&mut *consumer).await;
}

/// The queue drops its consumer and tells nobody: the client's channel stays open for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pe_029_a_channel_whose_consumer_the_broker_forgot_consumes_again() {
    let broker = Private::launch().await;
    let mut settings = Settings::new(broker.url());
    settings.no_progress = Duration::from_millis(700);
    let transport = open(settings);
    let mut consumer =
        transport.consume(&endpoint("forgotten", QueueKind::Classic)).await.expect("a consumer");
    assert_eq!(transport.publish(&[ping(0)]).await, confirmed(1));
    taken(&mut *consumer, 1).await;
    let forget = "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, \
                  <<\"forgotten\">>)), [gen_server2:call(amqqueue:get_pid(Q), {basic_cancel, \
                  element(1, C), element(2, C), undefined, <<\"test\">>}, infinity) || \
                  C <- rabbit_amqqueue:consumers(Q)]";
    let forgot = broker.eval(forget).await.expect("forgotten");
    assert!(forgot.contains("ok"), "{forgot}");
    assert_eq!(transport.publish(&[ping(1), ping(2)]).await, confirmed(2));
    assert_eq!(numbers(&taken(&mut *consumer, 2).await), [1, 2]);
    healthy(&transport).await;
    let depth = transport.depth("forgotten").await.expect("a depth");
    assert_eq!((depth.ready, depth.consumers), (0, 1), "the old one is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pe_029_a_queue_that_hangs_is_no_good_health_until_it_answers() {
    let broker = Private::launch().await;
    let mut settings = Settings::new(broker.url());
    settings.no_progress = Duration::from_millis(500);
    settings.deadline = Duration::from_secs(1);
    let transport = open(settings);
    let mut consumer =
        transport.consume(&endpoint("hangs", QueueKind::Classic)).await.expect("a consumer");
    healthy(&transport).await;
    let to_queue = |what: &str| {
        format!(
            "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"hangs\">>)), \
             sys:{what}(amqqueue:get_pid(Q))"
        )
    };
    broker.eval(&to_queue("suspend")).await.expect("suspended");
    unhealthy(&transport, "hangs does not consume").await;
    broker.eval(&to_queue("resume")).await.expect("resumed");
    healthy(&transport).await;
    assert_eq!(transport.publish(&[ping(1)]).await, confirmed(1));
    assert_eq!(numbers(&taken(&mut *consumer, 1).await), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_settles_nothing_is_no_good_health_and_loses_nothing() {
    let vhost = rabbitmq::vhost().await;
    let mut settings = Settings::new(vhost.url());
    settings.no_progress = Duration::from_millis(500);
    let transport = open(settings);
    let mut consumer =
        transport.consume(&endpoint("slow", QueueKind::Quorum)).await.expect("a consumer");
    assert_eq!(transport.publish(&[ping(0), ping(1)]).await, confirmed(2));
    let mut held = Vec::new();
    while held.len() < 2 {
        held.extend(consumer.next(2).await.expect("deliveries"));
    }
    unhealthy(&transport, "slow does not consume: 2 in hand, and none was settled").await;
    assert_eq!(consumer.settle(&acks(&held)).await, 2, "they are still ours");
    healthy(&transport).await;
    // An empty queue is no lack of progress.
    let mut generations = BTreeSet::from([held[0].receipt.generation]);
    for n in 2..5 {
        crate::parts::pause(Duration::from_millis(1_200)).await;
        assert_eq!(transport.health(), Ok(()));
        assert_eq!(transport.publish(&[ping(n)]).await, confirmed(1));
        let came = taken(&mut *consumer, 1).await;
        assert_eq!(numbers(&came), [n]);
        generations.insert(came[0].receipt.generation);
    }
    assert_eq!(generations.len(), 1, "the subscription was never made again");
}
