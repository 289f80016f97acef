//! What outlives a process that dies while it decides: intents, suspects, records of nodes.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use knarr_model::ids::{MessageId, NodeId, RowId};
use knarr_model::ports::StoreError;
use knarr_model::ports::crash::{CrashWatch, Intent, Record, Suspect, Used};
use knarr_model::work::{ParkedReason, RowKind};

use super::calls;
use super::rows::Rows;
use super::store::MemoryStore;

/// Suspects that nobody has met for so long are forgotten.
const REMEMBERED: Duration = Duration::from_secs(3_600);

#[async_trait]
impl CrashWatch for MemoryStore {
    async fn intend(&self, intent: &Intent) -> Result<Vec<Suspect>, StoreError> {
        Ok(self.at_now(|rows, now| {
            let place = (intent.node, intent.endpoint.clone(), intent.lane);
            if rows.intent.get(&place).is_none_or(|(last, _)| last.number < intent.number) {
                rows.intent.insert(place, (intent.clone(), now));
            }
            intent.messages.iter().filter_map(|id| suspected(rows, intent, *id)).collect()
        }))
    }

    async fn came_through(
        &self,
        intent: &Intent,
        messages: &[MessageId],
    ) -> Result<(), StoreError> {
        self.at_now(|rows, now| {
            let place = (intent.node, intent.endpoint.clone(), intent.lane);
            if rows.intent.get(&place).is_none_or(|(last, _)| last.number <= intent.number) {
                // The number stays: an intent that is carried out late finds it.
                let done = Intent { messages: Vec::new(), alone: false, ..intent.clone() };
                rows.intent.insert(place, (done, now));
            }
            for message in messages {
                rows.suspect.remove(&(intent.endpoint.clone(), *message));
            }
        });
        Ok(())
    }

    async fn look_round(
        &self,
        node: NodeId,
        record: Record,
        watch: Duration,
    ) -> Result<Vec<Record>, StoreError> {
        Ok(self.at_now(|rows, now| {
            if rows.node.contains_key(&node) {
                rows.record.insert(node, record);
            }
            if rows.is_alive(node, now) {
                bury(rows, now, watch);
            }
            let peers = rows.node.iter().filter(|(id, until)| **id != node && **until > now);
            peers.map(|(id, _)| rows.record.get(id).copied().unwrap_or_default()).collect()
        }))
    }

    async fn run_call(&self, node: NodeId, call: RowId, claims: i64) -> Result<bool, StoreError> {
        Ok(self.at_now(|rows, now| calls::run(rows, now, node, (call, claims))))
    }

    async fn put_off(
        &self,
        node: NodeId,
        calls: &[(RowId, i64)],
        until: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.at_now(|rows, _| {
            calls.iter().for_each(|call| calls::put_off(rows, node, *call, until));
        });
        Ok(())
    }

    async fn give_back_attempts(&self, used: &[Used]) -> Result<(), StoreError> {
        self.at_now(|rows, _| used.iter().for_each(|used| give_back(rows, *used)));
        Ok(())
    }
}

/// What is known of a message besides the intent that names it now.
fn suspected(rows: &Rows, by: &Intent, message: MessageId) -> Option<Suspect> {
    let known = rows.suspect.get(&(by.endpoint.clone(), message)).map(|(suspect, ..)| *suspect);
    let mut named: Vec<&(Intent, DateTime<Utc>)> = rows.intent.values().collect();
    named.retain(|(intent, _)| {
        intent.node != by.node
            && intent.endpoint == by.endpoint
            && intent.messages.contains(&message)
    });
    if known.is_none() && named.is_empty() {
        return None;
    }
    let mut suspect = known.unwrap_or(Suspect { message, died: 0, open: 0, last: None });
    for (_, at) in named.into_iter().filter(|(intent, _)| intent.alone) {
        suspect.open += 1;
        suspect.last = suspect.last.max(Some(*at));
    }
    Some(suspect)
}

/// Forgets nodes that died, suspects what they intended, watches the endpoints.
fn bury(rows: &mut Rows, now: DateTime<Utc>, watch: Duration) {
    let before = rows.node.len();
    rows.node.retain(|_, until| *until > now);
    let died = rows.node.len() < before;
    let node = &rows.node;
    rows.record.retain(|id, _| node.contains_key(id));
    let orphans: Vec<_> =
        rows.intent.extract_if(.., |(id, _, _), _| !node.contains_key(id)).collect();
    for (_, (intent, at)) in orphans {
        for message in intent.messages {
            if rows.journal.contains_key(&(intent.saga.clone(), message)) {
                continue;
            }
            let nobody = Suspect { message, died: 0, open: 0, last: None };
            let place = (intent.endpoint.clone(), message);
            let fresh = (nobody, now, intent.saga.clone());
            let (suspect, seen, _) = rows.suspect.entry(place).or_insert(fresh);
            *seen = now;
            if intent.alone {
                suspect.died += 1;
                suspect.last = suspect.last.max(Some(at));
            }
        }
    }
    // Who acquits a suspect may die before it can say so; the outcome says it too.
    let journal = &rows.journal;
    rows.suspect.retain(|(_, message), (_, seen, saga)| {
        *seen >= now - REMEMBERED && !journal.contains_key(&(saga.clone(), *message))
    });
    for row in rows.endpoint.values_mut() {
        if died || rows.suspect.keys().any(|(endpoint, _)| *endpoint == row.name) {
            row.watched_until = Some(now + watch);
        }
    }
}

fn give_back(rows: &mut Rows, used: Used) {
    let attempt = match used {
        Used::Call(id) => {
            rows.activity.get_mut(&id).filter(|row| row.end.is_none()).map(|r| &mut r.task.attempt)
        }
        Used::Row(RowKind::Call, id) => {
            rows.activity.get_mut(&id).map(|row| &mut row.decide_attempt)
        }
        Used::Row(RowKind::Timer, id) => rows.timer.get_mut(&id).map(|held| &mut held.row.attempt),
        Used::Row(RowKind::Parked, id) => rows
            .parked
            .get_mut(&id)
            .filter(|held| held.row.reason != ParkedReason::Missing)
            .map(|held| &mut held.row.attempt),
    };
    if let Some(attempt) = attempt {
        *attempt = attempt.saturating_sub(1);
    }
}
