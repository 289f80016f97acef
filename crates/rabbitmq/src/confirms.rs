//! Books what the broker says about published messages: confirmed, returned, or not known.
//!
//! The client pairs a returned message with whichever confirm comes next, not with its own. So
//! returns are matched here by message id, and a mandatory message counts as confirmed only when
//! it is certain that no return of it is still on its way to us.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lapin::Confirmation;
use lapin::message::BasicReturnMessage;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::broken::Broken;

/// Publishes that may wait to be booked; each is one call.
const CALLS: usize = 1_024;

/// What tells one mandatory message from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
}

/// What became of a message on its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Confirmed,
    Returned(String),
    Nacked,
    Broken(Broken),
}

/// A message on its way.
pub(crate) struct Sent {
    /// The caller's number for it.
    pub(crate) index: usize,
    /// Set when it is mandatory.
    pub(crate) key: Option<Key>,
    pub(crate) confirm: BoxFuture<'static, lapin::Result<Confirmation>>,
    pub(crate) answers: mpsc::Sender<(usize, Outcome)>,
}

/// The books of one channel.
pub(crate) struct Confirms {
    queue: mpsc::Sender<Vec<Sent>>,
    collector: JoinHandle<()>,
}

impl Confirms {
    pub(crate) fn start() -> Confirms {
        let (queue, incoming) = mpsc::channel(CALLS);
        Confirms { queue, collector: tokio::spawn(collect(incoming)) }
    }

    /// Room for one call. Every message that was handed to the client must be booked, or its
    /// neighbours' returns are lost: so room comes first.
    pub(crate) async fn room(&self) -> Result<mpsc::Permit<'_, Vec<Sent>>, Broken> {
        let gone = || Broken::Closed("the channel is closed".to_owned());
        self.queue.reserve().await.map_err(|_| gone())
    }

    /// Waits until everything is booked.
    pub(crate) async fn finish(self) {
        drop(self.queue);
        let _ended = self.collector.await;
    }
}

/// Who waits for an answer.
struct Waiter {
    index: usize,
    answers: mpsc::Sender<(usize, Outcome)>,
}

async fn collect(mut incoming: mpsc::Receiver<Vec<Sent>>) {
    let mut under_way = FuturesUnordered::new();
    let mut ledger = Ledger::default();
    let mut open = true;
    while open || !under_way.is_empty() {
        tokio::select! {
            biased;
            Some(first) = under_way.next(), if !under_way.is_empty() => {
                let mut round = vec![first];
                // Everything that was settled before what we just saw must be seen too.
                while let Some(Some(next)) = under_way.next().now_or_never() {
                    round.push(next);
                }
                let idle = under_way.is_empty();
                for (waiter, outcome) in ledger.round(round, idle) {
                    let Waiter { index, answers } = waiter;
                    // A caller that gave up has no answer coming.
                    let _given_up = answers.try_send((index, outcome));
                }
            }
            batch = incoming.recv(), if open => match batch {
                Some(batch) => under_way.extend(batch.into_iter().map(settled)),
                None => open = false,
            },
        }
    }
}

async fn settled(sent: Sent) -> Settled<Waiter> {
    let Sent { index, key, confirm, answers } = sent;
    let answer = match confirm.await {
        Ok(Confirmation::Ack(carried)) => Ok((true, carried.map(|it| returned(*Box::new(it))))),
        Ok(Confirmation::Nack(carried)) => Ok((false, carried.map(|it| returned(*Box::new(it))))),
        Ok(Confirmation::NotRequested) => {
            Err(Broken::Away("the channel gives no confirms".to_owned()))
        }
        Err(error) => Err(Broken::from(error)),
    };
    Settled { who: Waiter { index, answers }, key, answer }
}

fn returned(message: BasicReturnMessage) -> (Key, String) {
    let id = message.delivery.properties.message_id().as_ref();
    let key = Key {
        id: id.map(ToString::to_string).unwrap_or_default(),
        exchange: message.delivery.exchange.to_string(),
        routing_key: message.delivery.routing_key.to_string(),
    };
    (key, format!("{} {}", message.reply_code, message.reply_text))
}

/// One message of which the client has heard.
struct Settled<W> {
    who: W,
    key: Option<Key>,
    /// Whether it was an ack, and the returned message that the client attached to it.
    answer: Result<(bool, Option<(Key, String)>), Broken>,
}

/// Which message was returned and which was not.
///
/// The broker sends a return before the confirm of the same message. The client keeps returns in
/// a queue, and each confirm takes one from its head. Hence a confirm that took none saw an empty
/// queue: all returns that came before it have been taken by confirms before it.
struct Ledger<W> {
    returned: BTreeMap<Key, Vec<String>>,
    /// Acked, but their own return may still be in the client's queue.
    undecided: Vec<(W, Key)>,
}

impl<W> Default for Ledger<W> {
    fn default() -> Self {
        Ledger { returned: BTreeMap::new(), undecided: Vec::new() }
    }
}

impl<W> Ledger<W> {
    /// Books what was settled since the last round; `idle`: nothing is under way any more.
    fn round(&mut self, mut round: Vec<Settled<W>>, idle: bool) -> Vec<(W, Outcome)> {
        let mut saw_empty_queue = false;
        let mut broke = false;
        for settled in &mut round {
            match &mut settled.answer {
                Ok((_, carried)) => match carried.clone() {
                    Some((key, reason)) => self.returned.entry(key).or_default().push(reason),
                    None => saw_empty_queue = true,
                },
                Err(_) => broke = true,
            }
        }
        let mut decided = Vec::with_capacity(round.len());
        for (who, key) in std::mem::take(&mut self.undecided) {
            match self.take(&key) {
                Some(reason) => decided.push((who, Outcome::Returned(reason))),
                None if saw_empty_queue || idle && !broke => {
                    decided.push((who, Outcome::Confirmed))
                }
                None if broke => decided.push((who, Outcome::Broken(uncertain()))),
                None => self.undecided.push((who, key)),
            }
        }
        for Settled { who, key, answer } in round {
            let outcome = match (answer, key) {
                (Err(broken), _) => Outcome::Broken(broken),
                (Ok((false, _)), key) => {
                    let _void = key.and_then(|key| self.take(&key));
                    Outcome::Nacked
                }
                (Ok((true, _)), None) => Outcome::Confirmed,
                (Ok((true, carried)), Some(key)) => match self.take(&key) {
                    Some(reason) => Outcome::Returned(reason),
                    None if carried.is_none() || idle && !broke => Outcome::Confirmed,
                    None if broke => Outcome::Broken(uncertain()),
                    None => {
                        self.undecided.push((who, key));
                        continue;
                    }
                },
            };
            decided.push((who, outcome));
        }
        if idle {
            self.returned.clear();
        }
        decided
    }

    fn take(&mut self, key: &Key) -> Option<String> {
        let reasons = self.returned.get_mut(key)?;
        let reason = reasons.pop();
        if reasons.is_empty() {
            self.returned.remove(key);
        }
        reason
    }
}

fn uncertain() -> Broken {
    Broken::Away("the channel was closed before it was clear whether a queue took it".to_owned())
}

#[cfg(test)]
mod tests;
