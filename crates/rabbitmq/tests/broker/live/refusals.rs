//! What the broker refuses by its settings: rights, and the size of messages.

use std::time::Duration;

use bytes::Bytes;
use knarr_model::ports::transport::Published;
use knarr_model::ports::{Publisher as _, Transport as _};
use knarr_model::topology::QueueKind;
use knarr_model::work::{Addressing, Outgoing};
use knarr_rabbitmq::Settings;
use knarr_testkit::services::rabbitmq::Private;

use crate::parts::{
    confirmed, endpoint, healthy, numbers, open, pause, ping, taken, to, unhealthy,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_above_the_brokers_own_limit_is_impossible_and_the_rest_goes() {
    let broker = Private::launch().await;
    broker.eval("application:set_env(rabbit, max_message_size, 100000)").await.expect("set");
    let transport = open(Settings::new(broker.url()));
    transport.declare(&endpoint("sizes", QueueKind::Quorum)).await.expect("declared");
    let large = |n| Outgoing { body: Bytes::from(vec![b' '; 100_001]), ..ping(n) };
    let fits = |n| Outgoing { body: Bytes::from(vec![b' '; 100_000]), ..ping(n) };
    let messages = [ping(0), large(1), fits(2), large(3), ping(4)];
    let published = transport.publish(&messages).await;
    for (n, published) in published.iter().enumerate() {
        match n {
            1 | 3 => {
                let Published::Impossible(why) = published else { panic!("{n}: {published:?}") };
                assert!(why.contains("100001"), "{why}");
            }
            _ => assert_eq!(*published, Published::Confirmed, "{n}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_032_rights_taken_away_hold_up_only_what_needs_them_until_they_are_given_back() {
    let broker = Private::launch().await;
    let rights = |configure: &str, write: &str, read: &str| {
        format!(
            "rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, <<\"/\">>, \
             <<\"{configure}\">>, <<\"{write}\">>, <<\"{read}\">>, <<\"guest\">>)"
        )
    };
    let mut settings = Settings::new(broker.url());
    settings.deadline = Duration::from_secs(5);
    let transport = open(settings);
    let endpoint = endpoint("rights", QueueKind::Quorum);
    let mut consumer = transport.consume(&endpoint).await.expect("a consumer");
    let secret = |n| to("Test:Secret", Addressing::Publish { bases: Vec::new() }, n);
    assert_eq!(transport.publish(&[ping(0), secret(1)]).await, confirmed(2));
    taken(&mut *consumer, 1).await;
    broker.eval(&rights(".*", "^(rights|Test:Ping).*", ".*")).await.expect("set");
    // The broker remembers what a channel may do for a while; new channels ask again.
    let close = "[rabbit_networking:close_connection(P, \"go\") || \
                 P <- rabbit_networking:connections()], ok";
    broker.eval(close).await.expect("closed");
    pause(Duration::from_millis(500)).await;
    healthy(&transport).await;
    let published = transport.publish(&[ping(2), secret(3), ping(4)]).await;
    assert_eq!([&published[0], &published[2]], [&Published::Confirmed; 2], "{published:?}");
    assert!(
        matches!(&published[1], Published::Unknown(why) if why.contains("403")),
        "{published:?}"
    );
    // Not to read is not to consume: that shows, and ends when the right is back.
    broker.eval(&rights(".*", ".*", "^nothing$")).await.expect("set");
    broker.eval(close).await.expect("closed");
    unhealthy(&transport, "rights does not consume").await;
    assert!(consumer.next(1).await.is_err_and(|why| why.to_string().contains("403")));
    broker.eval(&rights(".*", ".*", ".*")).await.expect("set");
    healthy(&transport).await;
    assert_eq!(transport.publish(&[secret(3), ping(5)]).await, confirmed(2));
    let mut seen = std::collections::BTreeSet::new();
    while !seen.contains(&5) {
        seen.extend(numbers(&taken(&mut *consumer, 1).await));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [2, 4, 5]);
}

/// Tries to log in that the broker refused.
async fn refused_logins(broker: &Private) -> u32 {
    let count = "lists:sum([proplists:get_value(auth_attempts_failed, P) || \
                 P <- rabbit_core_metrics:get_auth_attempts()])";
    broker.eval(count).await.expect("a count").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_032_a_password_changed_under_us_is_told_and_tried_with_patience_until_it_fits_again() {
    let broker = Private::launch().await;
    let password = |word: &str| {
        format!(
            "rabbit_auth_backend_internal:change_password(<<\"guest\">>, <<\"{word}\">>, <<\"me\">>)"
        )
    };
    let transport = open(Settings::new(broker.url()));
    let endpoint = endpoint("rotated", QueueKind::Quorum);
    let mut consumer = transport.consume(&endpoint).await.expect("a consumer");
    assert_eq!(transport.publish(&[ping(0)]).await, confirmed(1));
    taken(&mut *consumer, 1).await;
    broker.eval(&password("another")).await.expect("changed");
    let close = "[rabbit_networking:close_connection(P, \"go\") || \
                 P <- rabbit_networking:connections()], ok";
    broker.eval(close).await.expect("closed");
    unhealthy(&transport, "ACCESS_REFUSED").await;
    let why = transport.health().expect_err("refused");
    assert!(!why.contains("guest:guest"), "{why}");
    let before = refused_logins(&broker).await;
    pause(Duration::from_secs(5)).await;
    let tries = refused_logins(&broker).await - before;
    // Two connections, each with a wait that doubles up to five seconds.
    assert!((1..=16).contains(&tries), "{tries} tries in five seconds");
    broker.eval(&password("guest")).await.expect("changed back");
    healthy(&transport).await;
    assert_eq!(transport.publish(&[ping(1)]).await, confirmed(1));
    assert_eq!(numbers(&taken(&mut *consumer, 1).await), [1]);
}
