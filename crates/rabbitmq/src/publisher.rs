//! The way out: publishes pipelined, in order, and says of each message what became of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use knarr_model::failpoint::{self, Step};
use knarr_model::ports::Clock;
use knarr_model::ports::transport::Published;
use knarr_model::work::{Addressing, Outgoing};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::debug;

use crate::broken::{Broken, named_exchange, size_limit, within};
use crate::codec;
use crate::confirms::{Confirms, Key, Outcome, Sent};
use crate::connection::{Link, Live};
use crate::destinations::Destinations;
use crate::names::short;
use crate::settings::Settings;
use crate::topology::Declarer;

/// How often one call sends what a closed channel left without an answer.
const ROUNDS: usize = 4;

/// Publishes over one connection.
pub(crate) struct Publisher {
    link: Arc<Link>,
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    routes: Lane,
    /// Answers go to exchanges that are often gone, which closes the channel.
    answers: Lane,
}

/// A channel that is opened when it is needed. Calls go through it in the order they came.
#[derive(Default)]
struct Lane {
    slot: tokio::sync::Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    open: Option<Open>,
    /// Valid for the connection of this number.
    declared: (u64, Destinations),
}

struct Open {
    live: Arc<Live>,
    channel: Arc<Channel>,
    confirms: Confirms,
}

/// The messages of one call and what is known of each so far.
struct Call<'a> {
    messages: &'a [Outgoing],
    known: Mutex<Vec<Option<Published>>>,
}

impl Call<'_> {
    fn set(&self, index: usize, published: Published) {
        self.known.lock()[index] = Some(published);
    }

    fn unknown(&self, indices: &[usize], why: &str) {
        for index in indices {
            self.set(*index, Published::Unknown(why.to_owned()));
        }
    }
}

/// A message whose channel was closed before it had an answer: reply code (0: not told) and text.
struct Unanswered {
    index: usize,
    code: u16,
    text: String,
}

impl Publisher {
    pub(crate) fn new(link: Arc<Link>, settings: Arc<Settings>, clock: Arc<dyn Clock>) -> Self {
        let (routes, answers) = (Lane::default(), Lane::default());
        Publisher { link, settings, clock, routes, answers }
    }

    pub(crate) async fn publish(&self, messages: &[Outgoing]) -> Vec<Published> {
        let call = Call { messages, known: Mutex::new(vec![None; messages.len()]) };
        let (answers, routes): (Vec<usize>, Vec<usize>) = (0..messages.len())
            .partition(|index| matches!(messages[*index].addressing, Addressing::Answer));
        let work = future::join(
            self.through(&self.routes, &call, routes),
            self.through(&self.answers, &call, answers),
        );
        let deadline = self.settings.deadline;
        let ended = tokio::time::timeout(deadline, work).await;
        let why = match ended {
            Ok(_) => "the channel was closed again and again".to_owned(),
            Err(_) => format!("no confirm within {deadline:?}"),
        };
        let known = call.known.into_inner().into_iter();
        known.map(|it| it.unwrap_or_else(|| Published::Unknown(why.clone()))).collect()
    }

    /// Waits for outstanding confirms, at most the deadline, and lets the channels go.
    pub(crate) async fn close(&self) {
        for lane in [&self.routes, &self.answers] {
            let finished = async {
                let open = lane.slot.lock().await.open.take();
                if let Some(Open { confirms, .. }) = open {
                    confirms.finish().await;
                }
            };
            let _best_effort = tokio::time::timeout(self.settings.deadline, finished).await;
        }
    }

    async fn through(&self, lane: &Lane, call: &Call<'_>, mut left: Vec<usize>) {
        for _ in 0..ROUNDS {
            if left.is_empty() {
                return;
            }
            let unanswered = self.attempt(lane, call, &left).await;
            left = self.blame(lane, call, unanswered).await;
        }
    }

    /// Sends the messages and books the answers; those that got none because the channel was
    /// closed are returned.
    async fn attempt(&self, lane: &Lane, call: &Call<'_>, indices: &[usize]) -> Vec<Unanswered> {
        let mut slot = lane.slot.lock().await;
        let mut answers = match self.send(&mut slot, call, indices).await {
            Ok(answers) => answers,
            Err(broken) => {
                call.unknown(indices, &broken.text());
                return Vec::new();
            }
        };
        drop(slot);
        let mut unanswered = Vec::new();
        while let Some((index, outcome)) = answers.recv().await {
            match outcome {
                Outcome::Confirmed => call.set(index, Published::Confirmed),
                Outcome::Returned(why) => call.set(index, Published::Returned(why)),
                Outcome::Nacked => call.unknown(&[index], "the broker did not take it (nack)"),
                Outcome::Broken(Broken::Refused(code, text)) => {
                    unanswered.push(Unanswered { index, code, text });
                }
                Outcome::Broken(Broken::Closed(text)) => {
                    unanswered.push(Unanswered { index, code: 0, text });
                }
                Outcome::Broken(Broken::Away(text)) => {
                    self.link.poke();
                    call.unknown(&[index], &text);
                }
            }
        }
        unanswered.sort_by_key(|it| it.index);
        unanswered
    }

    /// Queues the messages on the lane's channel; the answers come through what is returned.
    async fn send(
        &self,
        slot: &mut Slot,
        call: &Call<'_>,
        indices: &[usize],
    ) -> Result<mpsc::Receiver<(usize, Outcome)>, Broken> {
        let live = self.open(slot).await?;
        if let Some(reason) = live.blocked() {
            return Err(Broken::Away(format!("the broker takes no messages: {reason}")));
        }
        self.declare(slot, &live, call, indices).await?;
        let Some(open) = &slot.open else {
            return Err(Broken::Closed("the channel is closed".to_owned()));
        };
        let (answer, answers) = mpsc::channel(indices.len().max(1));
        let mut batch = Vec::with_capacity(indices.len());
        for index in indices {
            let message = &call.messages[*index];
            if message.expires_at.is_some_and(|at| at <= self.clock.now()) {
                debug!(id = %message.id, "expired before it was published");
                call.set(*index, Published::Confirmed);
                continue;
            }
            match self.prepare(message, &live) {
                Err(why) => call.set(*index, Published::Impossible(why)),
                Ok(properties) => batch.push(Sent {
                    index: *index,
                    key: message.is_mandatory().then(|| key(message)),
                    confirm: confirm(open.channel.clone(), message, properties),
                    answers: answer.clone(),
                }),
            }
        }
        let room = open.confirms.room().await?;
        // The first look at each puts its frames in the client's queue, in this order; from here
        // to the booking nothing may wait, or another call gets in between.
        future::poll_fn(|context| {
            for sent in &mut batch {
                if let Poll::Ready(result) = Pin::new(&mut sent.confirm).poll(context) {
                    sent.confirm = future::ready(result).boxed();
                }
            }
            Poll::Ready(())
        })
        .await;
        failpoint::pass(Step::Published);
        room.send(batch);
        Ok(answers)
    }

    /// Makes sure that the lane has a channel of the present connection.
    async fn open(&self, slot: &mut Slot) -> Result<Arc<Live>, Broken> {
        let closed = || Broken::Away("the transport is closed".to_owned());
        let live = self.link.live().await.ok_or_else(closed)?;
        let usable = slot
            .open
            .as_ref()
            .is_some_and(|it| it.live.number == live.number && it.channel.status().connected());
        if !usable {
            slot.open = None;
            let limit = self.settings.deadline;
            let channel = within(limit, "channel.open", live.connection.create_channel()).await?;
            let select = channel.confirm_select(ConfirmSelectOptions::default());
            within(limit, "confirm.select", select).await?;
            let channel = Arc::new(channel);
            slot.open = Some(Open { live: live.clone(), channel, confirms: Confirms::start() });
        }
        if slot.declared.0 != live.number {
            slot.declared = (live.number, Destinations::default());
        }
        Ok(live)
    }

    async fn declare(
        &self,
        slot: &mut Slot,
        live: &Live,
        call: &Call<'_>,
        indices: &[usize],
    ) -> Result<(), Broken> {
        let mut declarer = Declarer::on(live, self.settings.deadline);
        let destinations = &mut slot.declared.1;
        for index in indices {
            let message = &call.messages[*index];
            let now = self.clock.monotonic();
            if !destinations.has(message, now) {
                destinations.declare(&mut declarer, message, now).await?;
            }
        }
        Ok(())
    }

    fn prepare(&self, message: &Outgoing, live: &Live) -> Result<BasicProperties, String> {
        let (size, most) = (message.body.len(), self.settings.max_message);
        if size > most {
            return Err(format!("its body has {size} bytes, and the broker takes {most} at most"));
        }
        short("the exchange's name", &message.exchange)?;
        short("the routing key", &message.routing_key)?;
        let frame_max = live.connection.configuration().frame_max();
        codec::properties(message, self.clock.now(), frame_max)
    }

    /// Finds out which messages made the broker close the channel. The others are returned.
    async fn blame(&self, lane: &Lane, call: &Call<'_>, unanswered: Vec<Unanswered>) -> Vec<usize> {
        let all: Vec<usize> = unanswered.iter().map(|it| it.index).collect();
        let Some(told) = unanswered.into_iter().find(|it| it.code != 0) else { return all };
        let Unanswered { code, text, .. } = told;
        let guilty = |index: &usize| {
            let message = &call.messages[*index];
            match (named_exchange(&text), size_limit(&text)) {
                (Some(exchange), _) => message.exchange == exchange,
                (None, Some(limit)) => message.body.len() > limit,
                (None, None) => false,
            }
        };
        if named_exchange(&text).is_none() && size_limit(&text).is_none() {
            self.halve(call, all).await;
            return Vec::new();
        }
        // None of ours may be guilty: other calls share the channel.
        let (culprits, others): (Vec<usize>, Vec<usize>) = all.into_iter().partition(guilty);
        for index in culprits {
            let message = &call.messages[index];
            if code == 404 {
                lane.slot.lock().await.declared.1.forget(&message.exchange);
            }
            call.set(index, verdict(message, code, &text));
        }
        others
    }

    /// Sends on channels of their own, smaller and smaller, until the culprit stands alone.
    async fn halve(&self, call: &Call<'_>, indices: Vec<usize>) {
        let mut stack = vec![indices];
        while let Some(mut part) = stack.pop() {
            let unanswered = self.attempt(&Lane::default(), call, &part).await;
            if let [Unanswered { index, code, text }] = &unanswered[..]
                && part.len() == 1
            {
                call.set(*index, verdict(&call.messages[*index], *code, text));
                continue;
            }
            part = unanswered.into_iter().map(|it| it.index).collect();
            if part.len() > 1 {
                let second = part.split_off(part.len() / 2);
                stack.push(second);
            }
            if !part.is_empty() {
                stack.push(part);
            }
        }
    }
}

/// What it means that a message alone closed its channel.
fn verdict(message: &Outgoing, code: u16, text: &str) -> Published {
    let said = format!("{code} {text}");
    match (code, &message.addressing) {
        // The requester is gone, or was never to be reached.
        (403 | 404, Addressing::Answer) => Published::Returned(said),
        // The destination may come back, or the right to it be given.
        (0 | 403 | 404, _) => Published::Unknown(said),
        _ => Published::Impossible(said),
    }
}

fn key(message: &Outgoing) -> Key {
    Key {
        id: message.id.to_string(),
        exchange: message.exchange.clone(),
        routing_key: message.routing_key.clone(),
    }
}

fn confirm(
    channel: Arc<Channel>,
    message: &Outgoing,
    properties: BasicProperties,
) -> BoxFuture<'static, lapin::Result<Confirmation>> {
    let options =
        BasicPublishOptions { mandatory: message.is_mandatory(), ..BasicPublishOptions::default() };
    let (exchange, key) = (message.exchange.clone().into(), message.routing_key.clone().into());
    let body = message.body.clone();
    async move { channel.basic_publish(exchange, key, options, &body, properties).await?.await }
        .boxed()
}
