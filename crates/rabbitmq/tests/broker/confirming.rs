//! Confirms as a broker may send them: refusals, out of order, several at once.

use knarr_model::ports::Publisher as _;
use knarr_model::ports::transport::Published;
use knarr_rabbitmq::Settings;

use crate::fake::{self, Answer, ack, nack};
use crate::parts::{confirmed, open, ping};

/// Which of the messages, by their place in the call, were not taken.
fn refused(published: &[Published]) -> Vec<usize> {
    let refused = published.iter().enumerate().filter(|(_, it)| **it != Published::Confirmed);
    refused
        .map(|(place, it)| {
            assert!(matches!(it, Published::Unknown(why) if why.contains("nack")), "{it:?}");
            place
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_028_mt_303_a_nack_leaves_its_own_message_to_be_sent_again_and_no_other() {
    let url = fake::broker(|tag| vec![if tag == 3 { nack(tag) } else { ack(tag) }]).await;
    let transport = open(Settings::new(url));
    let messages: Vec<_> = (0..5).map(ping).collect();
    let published = transport.publish(&messages).await;
    assert_eq!(refused(&published), [2]);
    assert_eq!(transport.publish(&messages[2..3]).await, confirmed(1), "tag 6 is taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_029_confirms_out_of_order_and_for_many_at_once_mark_the_right_messages() {
    // Nothing until the last of each call is there; then in any order.
    let script = |tag: u64| -> Vec<Answer> {
        match tag {
            12 => vec![ack(5), nack(7), ack(4).and_before(), ack(11), ack(12).and_before()],
            18 => vec![ack(17), nack(14).and_before(), nack(18), ack(16).and_before()],
            // Alone, each older one afterwards.
            24 => {
                (19..=24).rev().map(|tag| if tag % 2 == 0 { ack(tag) } else { nack(tag) }).collect()
            }
            _ => Vec::new(),
        }
    };
    let url = fake::broker(script).await;
    let transport = open(Settings::new(url));
    let messages: Vec<_> = (0..24).map(ping).collect();
    assert_eq!(refused(&transport.publish(&messages[..12]).await), [6]);
    assert_eq!(refused(&transport.publish(&messages[12..18]).await), [0, 1, 5]);
    assert_eq!(refused(&transport.publish(&messages[18..]).await), [0, 2, 4]);
}
