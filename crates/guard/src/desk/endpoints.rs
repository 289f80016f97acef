//! Orders about endpoints: halt, pause, resume; and a message sent to one by hand.

use std::collections::BTreeSet;

use knarr_model::ports::StoreError;
use knarr_model::ports::guard::Plan;
use knarr_model::{MessageId, Name};

use super::asking::{Answer, Desk, Error};
use crate::called::Called;
use crate::halt;
use crate::halted::{self, NodeHalt};
use crate::order::Order;

impl Desk {
    /// Stops an endpoint, and tells what the nodes did with what they had in hand: waits for them,
    /// for two seconds at most.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`Refusal::Unknown`] for an endpoint that never was.
    ///
    /// [`Refusal::Unknown`]: knarr_model::ports::guard::Refusal::Unknown
    pub async fn halt(&self, order: &Order, endpoint: &Name) -> Result<Answer, Error> {
        self.known_endpoint(endpoint).await?;
        let at = self.moment(order);
        let called = Called::on("halt", &**endpoint);
        let mut done = self.ask(&at, at.ask(endpoint), called, halt::halt).await?;
        if done.dry_run {
            return Ok(done);
        }
        // It is in force, whether or not the store can say more about it now.
        done.nodes = self.halted(endpoint).await.unwrap_or_default();
        Ok(done)
    }

    /// What the nodes did with what they had in hand of a halted endpoint.
    async fn halted(&self, endpoint: &Name) -> Result<Option<Vec<NodeHalt>>, StoreError> {
        let rows = self.doors.records.endpoints().await?;
        let Some(row) = rows.into_iter().find(|row| row.name == *endpoint) else {
            return Ok(None);
        };
        let (guarded, clock) = (&*self.doors.guarded, &*self.doors.clock);
        halted::nodes(guarded, clock, &row).await.map(Some)
    }

    /// Stops an endpoint's intake.
    ///
    /// # Errors
    /// As [`Desk::halt`]; a conflict when it is halted.
    pub async fn pause(&self, order: &Order, endpoint: &Name) -> Result<Answer, Error> {
        self.known_endpoint(endpoint).await?;
        let at = self.moment(order);
        self.ask(&at, at.ask(endpoint), Called::on("pause", &**endpoint), halt::pause).await
    }

    /// Opens an endpoint, at once or after a careful try.
    ///
    /// # Errors
    /// As [`Desk::halt`].
    pub async fn resume(
        &self,
        order: &Order,
        endpoint: &Name,
        probe: bool,
    ) -> Result<Answer, Error> {
        self.known_endpoint(endpoint).await?;
        let at = self.moment(order);
        let called = Called::on("resume", &**endpoint);
        self.ask(&at, at.ask(endpoint), called, move |scene, at| halt::resume(scene, at, probe))
            .await
    }

    /// The store came back from a backup: every endpoint that it has, and these, go on at numbers
    /// that were never given out. To be asked before this process serves.
    ///
    /// # Errors
    /// As [`Desk::halt`].
    pub async fn after_restore(
        &self,
        order: &Order,
        served: &[Name],
    ) -> Result<Vec<Answer>, Error> {
        let known = self.doors.records.endpoints().await?;
        let all: BTreeSet<Name> =
            known.into_iter().map(|row| row.name).chain(served.iter().cloned()).collect();
        let mut answers = Vec::new();
        for endpoint in all {
            let at = self.moment(order);
            let called = Called::on("after-restore", &*endpoint);
            answers.push(self.ask(&at, at.ask(&endpoint), called, halt::after_restore).await?);
        }
        Ok(answers)
    }

    /// Notes that somebody sent a message by hand, once the broker has it; a dry order only asks
    /// whether its key is free. `endpoint` takes the message, or is any that this process serves.
    ///
    /// # Errors
    /// Invalid when the key is another order's.
    pub async fn note_sent(
        &self,
        order: &Order,
        endpoint: &Name,
        message: MessageId,
        exchange: &str,
    ) -> Result<Answer, Error> {
        let at = self.moment(order);
        let target = format!("message {message}");
        let done = format!("{target} went to the exchange {exchange}");
        let called = Called::on("send", target.clone());
        self.ask(&at, at.ask(endpoint), called, move |scene, at| {
            let line = at.line("send", &target, &scene.endpoint.name, vec![done.clone()]);
            Ok(Plan { audit: Some(line), ..Plan::default() })
        })
        .await
    }
}
