//! The way in to queues: a call's messages are one transaction, and confirmed means committed.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures_util::FutureExt;
use knarr_model::names::MAX_NAME;
use knarr_model::ports::Publisher;
use knarr_model::ports::transport::Published;
use knarr_model::work::{Addressing, Outgoing};

use crate::error::Error;
use crate::queue::{self, NewRow, Properties};
use crate::rows::json;
use crate::topology::Topology;
use crate::transport::Transport;
use crate::writer::Ended;

/// Bodies in one INSERT; a call with more takes several in the same transaction.
const BODIES: usize = 32 << 20;

/// What is to be written for some messages of a call.
#[derive(Default)]
struct Batch {
    rows: Vec<(String, usize, usize, usize)>,
    bodies: Vec<u8>,
}

#[async_trait]
impl Publisher for Transport {
    async fn publish(&self, messages: &[Outgoing]) -> Vec<Published> {
        if self.queues.closed().is_cancelled() {
            return all(messages, &Error::closed());
        }
        if let Err(error) = self.queues.declare(&self.file, declared(messages)).await {
            return all(messages, &error);
        }
        let now = self.file.clock.now();
        let mut targets: BTreeSet<String> = BTreeSet::new();
        let mut batches = vec![Batch::default()];
        let mut answers = Vec::with_capacity(messages.len());
        self.queues.topology(|topology| {
            for (at, message) in messages.iter().enumerate() {
                if let Some(why) = impossible(message, self.file.settings.max_body) {
                    answers.push(Published::Impossible(why));
                    continue;
                }
                answers.push(Published::Confirmed);
                if message.expires_at.is_some_and(|until| until <= now) {
                    continue;
                }
                let reached = topology.reached(&message.exchange, &message.routing_key);
                if reached.is_empty() && message.is_mandatory() {
                    answers[at] = Published::Returned(returned(message));
                }
                add(&mut batches, at, message, &reached);
                targets.extend(reached.into_iter().map(str::to_owned));
            }
        });
        if targets.is_empty() {
            return answers;
        }
        match self.write(messages, batches, &targets).await {
            Ok(()) => answers,
            Err(error) => answers
                .into_iter()
                .map(|answer| match answer {
                    Published::Confirmed => Published::Unknown(error.to_string()),
                    settled => settled,
                })
                .collect(),
        }
    }
}

impl Transport {
    async fn write(
        &self,
        messages: &[Outgoing],
        batches: Vec<Batch>,
        targets: &BTreeSet<String>,
    ) -> Result<(), Error> {
        let properties =
            messages.iter().map(|m| json(&properties(m))).collect::<Result<Vec<_>, _>>()?;
        let mut inserts = Vec::with_capacity(batches.len());
        for batch in batches {
            let rows: Vec<NewRow<'_>> = batch
                .rows
                .iter()
                .map(|(queue, at, from, length)| {
                    let Outgoing { exchange, routing_key, .. } = &messages[*at];
                    (&**queue, &**exchange, &**routing_key, &*properties[*at], *from, *length)
                })
                .collect();
            inserts.push((json(&rows)?, batch.bodies));
        }
        let eager: Vec<String> =
            targets.iter().filter(|queue| self.queues.line(queue).is_eager()).cloned().collect();
        let handed = self.file.write(move |connection| {
            async move {
                for (rows, bodies) in &inserts {
                    queue::insert(connection, rows, bodies).await?;
                }
                let handed = match eager.is_empty() {
                    true => Vec::new(),
                    false => queue::hand_all(connection, &eager).await?,
                };
                Ok(Ended::Kept(handed))
            }
            .boxed()
        });
        for (queue, upto) in handed.await? {
            self.queues.line(&queue).handed(upto);
        }
        for queue in targets {
            self.queues.line(queue).wake();
        }
        Ok(())
    }
}

/// The same unknown end for all.
fn all(messages: &[Outgoing], error: &Error) -> Vec<Published> {
    messages.iter().map(|_| Published::Unknown(error.to_string())).collect()
}

/// What the messages declare before they go: the bindings of base types. A queue belongs to whoever
/// consumes from it and is never made by a sender; while it is missing the message is returned.
fn declared(messages: &[Outgoing]) -> Topology {
    let mut wanted = Topology::default();
    for message in messages {
        if let Addressing::Publish { bases } = &message.addressing {
            for base in bases {
                wanted.bind(message.exchange.clone(), base.clone());
            }
        }
    }
    wanted
}

/// Why a message can never go: the same bounds as at a broker, so that nothing is found out only
/// there.
fn impossible(message: &Outgoing, max_body: usize) -> Option<String> {
    let size = message.body.len();
    if size > max_body {
        return Some(format!("the body has {size} bytes, {max_body} are allowed"));
    }
    for (what, name) in [("exchange", &message.exchange), ("routing key", &message.routing_key)] {
        if name.len() > MAX_NAME {
            let length = name.len();
            return Some(format!("the {what} is {length} bytes long, AMQP allows {MAX_NAME}"));
        }
    }
    let long = message.headers.0.keys().find(|name| name.len() > MAX_NAME)?;
    Some(format!("a header's name is {} bytes long, AMQP allows {MAX_NAME}", long.len()))
}

fn returned(message: &Outgoing) -> String {
    match message.exchange.is_empty() {
        true => format!("there is no queue `{}`", message.routing_key),
        false => format!("no queue is bound to exchange `{}`", message.exchange),
    }
}

fn properties(message: &Outgoing) -> Properties {
    Properties {
        message_id: Some(message.id.to_string()),
        correlation_id: message.correlation_id.map(|id| id.to_string()),
        content_type: Some(message.content_type.clone()).filter(|text| !text.is_empty()),
        priority: message.priority,
        headers: message.headers.clone(),
    }
}

/// Adds a message to the batch that has room for it; its body is there once, however many queues.
fn add(batches: &mut Vec<Batch>, at: usize, message: &Outgoing, reached: &[&str]) {
    if reached.is_empty() {
        return;
    }
    let full = batches.last().is_none_or(|last| {
        !last.rows.is_empty() && last.bodies.len() + message.body.len() > BODIES
    });
    if full {
        batches.push(Batch::default());
    }
    if let Some(batch) = batches.last_mut() {
        let (from, length) = (batch.bodies.len(), message.body.len());
        batch.bodies.extend_from_slice(&message.body);
        batch.rows.extend(reached.iter().map(|queue| ((*queue).to_owned(), at, from, length)));
    }
}
