//! What was declared for outgoing messages on this connection, so that it is declared once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use knarr_model::work::{Addressing, Outgoing};

use crate::broken::Broken;
use crate::topology::Declarer;

/// After how long a destination that could not be declared whole is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// Exchanges and queues that are known to exist.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    published: BTreeMap<String, BTreeSet<String>>,
    queues: BTreeSet<String>,
    exchanges: BTreeSet<String>,
    /// Not complete: taken as they are until this time.
    not_before: BTreeMap<String, Duration>,
}

impl Destinations {
    /// Whether nothing is left to be declared for the message.
    pub(crate) fn has(&self, message: &Outgoing, now: Duration) -> bool {
        let name = message.exchange.as_str();
        let known = match &message.addressing {
            Addressing::Publish { bases } => self
                .published
                .get(name)
                .is_some_and(|bound| bases.iter().all(|base| bound.contains(base))),
            Addressing::Queue => self.queues.contains(name),
            Addressing::Exchange => self.exchanges.contains(name),
            Addressing::Answer => true,
        };
        known || self.not_before.get(name).is_some_and(|until| now < *until)
    }

    /// Declares what the message needs. What may not be declared (403) may exist all the same: the
    /// publish will show.
    pub(crate) async fn declare(
        &mut self,
        declarer: &mut Declarer<'_>,
        message: &Outgoing,
        now: Duration,
    ) -> Result<(), Broken> {
        let name = message.exchange.as_str();
        let complete = match &message.addressing {
            Addressing::Publish { bases } => self.for_publish(declarer, name, bases).await,
            Addressing::Queue => self.for_queue(declarer, name).await,
            Addressing::Exchange => declarer.source_exchange(name).await.map(|_| {
                self.exchanges.insert(name.to_owned());
                true
            }),
            Addressing::Answer => Ok(true),
        };
        match complete {
            Ok(true) => {
                self.not_before.remove(name);
                Ok(())
            }
            Ok(false) | Err(Broken::Refused(..)) => {
                self.not_before.insert(name.to_owned(), now + AGAIN);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    async fn for_publish(
        &mut self,
        declarer: &mut Declarer<'_>,
        name: &str,
        bases: &[String],
    ) -> Result<bool, Broken> {
        let key = declarer.source_exchange(name).await?;
        for base in bases {
            declarer.source_exchange(base).await?;
            declarer.exchange_to(base, name, key).await?;
        }
        self.published.entry(name.to_owned()).or_default().extend(bases.iter().cloned());
        Ok(true)
    }

    /// The queue belongs to somebody else, who knows of what kind it is: it is bound, never made.
    /// While it is missing the broker returns the message.
    async fn for_queue(&mut self, declarer: &mut Declarer<'_>, name: &str) -> Result<bool, Broken> {
        let exists = declarer.queue_exists(name).await?;
        declarer.source_exchange(name).await?;
        if exists {
            declarer.queue_to_own_exchange(name).await?;
            self.queues.insert(name.to_owned());
        }
        Ok(exists)
    }

    /// Forgets an exchange that turned out to be missing.
    pub(crate) fn forget(&mut self, exchange: &str) {
        self.published.remove(exchange);
        self.queues.remove(exchange);
        self.exchanges.remove(exchange);
        self.not_before.remove(exchange);
    }
}
