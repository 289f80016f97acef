//! A bare forwarder: what a broker client alone can do. The yardstick of the bench, nothing else.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use knarr_model::ports::{Clock, TransportError};
use knarr_model::topology::dead_queue;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use tokio::sync::mpsc;

/// The wait for one confirm.
type Confirming = BoxFuture<'static, lapin::Result<lapin::Confirmation>>;

/// Moves `count` messages from a queue to an exchange: publishes each with a confirm, acks it when
/// the confirm is there, keeps `prefetch` of them in flight. Returns how long that took.
///
/// # Errors
/// Whatever the client says: a bench is not worth a recovery.
pub async fn forward(
    url: &str,
    queue: &str,
    exchange: &str,
    count: usize,
    prefetch: u16,
    clock: &Arc<dyn Clock>,
) -> Result<Duration, TransportError> {
    let away = |error: lapin::Error| TransportError::Away(error.to_string());
    let connect = || Connection::connect(url, ConnectionProperties::default());
    // As the transport does it: consuming and publishing have a connection each.
    let (consuming, publishing) = (connect().await.map_err(away)?, connect().await.map_err(away)?);
    let incoming = consuming.create_channel().await.map_err(away)?;
    let outgoing = publishing.create_channel().await.map_err(away)?;
    outgoing.confirm_select(ConfirmSelectOptions::default()).await.map_err(away)?;
    incoming.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(away)?;
    let began = clock.monotonic();
    let mut deliveries = incoming
        .basic_consume(
            queue.into(),
            "forwarder".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(away)?;
    let (sent, mut confirms) = mpsc::channel::<(Confirming, u64)>(usize::from(prefetch));
    let acking = async {
        let mut acked = 0;
        while let Some((confirm, tag)) = confirms.recv().await {
            confirm.await.map_err(away)?;
            incoming.basic_ack(tag, BasicAckOptions::default()).await.map_err(away)?;
            acked += 1;
            if acked == count {
                break;
            }
        }
        Ok::<_, TransportError>(())
    };
    let moving = async {
        for _ in 0..count {
            let Some(delivery) = deliveries.next().await else { break };
            let delivery = delivery.map_err(away)?;
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_content_type("application/vnd.masstransit+json".into());
            let confirm = outgoing
                .basic_publish(
                    exchange.into(),
                    "".into(),
                    BasicPublishOptions::default(),
                    &delivery.data,
                    properties,
                )
                .await
                .map_err(away)?;
            if sent.send((confirm.boxed(), delivery.delivery_tag)).await.is_err() {
                break;
            }
        }
        drop(sent);
        Ok::<_, TransportError>(())
    };
    let (moved, acked) = tokio::join!(moving, acking);
    moved.and(acked)?;
    let took = clock.monotonic() - began;
    consuming.close(200, "done".into()).await.map_err(away)?;
    publishing.close(200, "done".into()).await.map_err(away)?;
    Ok(took)
}

/// Deletes the queues of a bench with everything in them, and their exchanges, if they are there.
/// A queue that stays would go on taking a copy of whatever the next measurement publishes.
///
/// # Errors
/// Whatever the client says.
pub async fn remove(url: &str, queues: &[String]) -> Result<(), TransportError> {
    let away = |error: lapin::Error| TransportError::Away(error.to_string());
    let connection =
        Connection::connect(url, ConnectionProperties::default()).await.map_err(away)?;
    let channel = connection.create_channel().await.map_err(away)?;
    for queue in queues {
        for name in [queue.clone(), dead_queue(queue)] {
            let options = QueueDeleteOptions::default();
            channel.queue_delete(name.as_str().into(), options).await.map_err(away)?;
            let options = ExchangeDeleteOptions::default();
            channel.exchange_delete(name.as_str().into(), options).await.map_err(away)?;
        }
    }
    connection.close(200, "done".into()).await.map_err(away)
}
