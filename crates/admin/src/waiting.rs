//! Why nothing happens to an instance just now, in a sentence for people.

use chrono::{DateTime, TimeDelta, Utc};
use knarr_model::instance::{FINAL, PURGED};
use knarr_model::ports::records::InstanceDetail;
use knarr_model::shape::{EventShape, Shape};
use knarr_model::work::{ActivityTask, Parked, ParkedReason, Timer};

/// The sentence; `shape` is the saga's table where this node knows it.
pub(crate) fn why(detail: &InstanceDetail, shape: Option<&Shape>, now: DateTime<Utc>) -> String {
    let state = detail.instance.state.as_str();
    match state {
        FINAL => return "It has finished.".to_owned(),
        PURGED => return "It was purged: nothing of it runs any more.".to_owned(),
        _ => {}
    }
    let mut reasons: Vec<String> = Vec::new();
    reasons.extend(detail.calls.iter().map(|task| call(task, now)));
    reasons.extend(detail.timers.iter().map(|one| timer(one, now)));
    reasons.extend(detail.parked.iter().map(|one| parked(one, now)));
    let messages = shape.map(|shape| taken_in(shape, state));
    if reasons.is_empty() {
        return match messages {
            Some(messages) if messages.is_empty() => {
                format!(
                    "Nothing can move it: no row of {state} takes a message, and nothing is open."
                )
            }
            Some(messages) => format!("It waits for a message: {}.", messages.join(" or ")),
            None => "It waits for a message; nothing else is open.".to_owned(),
        };
    }
    let mut sentence = format!("It waits for {}.", reasons.join(", and for "));
    if let Some(messages) = messages.filter(|messages| !messages.is_empty()) {
        sentence.push_str(&format!(" It would also take {}.", messages.join(" or ")));
    }
    sentence
}

fn call(task: &ActivityTask, now: DateTime<Utc>) -> String {
    let when = match task.due_at > now {
        true if task.attempt == 0 => format!("begins {}", when(task.due_at, now)),
        true => format!("tried {}, again {}", times(task.attempt), when(task.due_at, now)),
        false if task.attempt == 0 => "not begun yet".to_owned(),
        false => format!("attempt {}", task.attempt),
    };
    let lost = match task.lost.count {
        0 => String::new(),
        1 => ", lost with a process that died".to_owned(),
        n => format!(", lost with {n} processes that died"),
    };
    format!("the answer to {} ({when}{lost})", task.call)
}

fn timer(timer: &Timer, now: DateTime<Utc>) -> String {
    format!("the timer {} ({})", timer.name, when(timer.due_at, now))
}

fn parked(parked: &Parked, now: DateTime<Utc>) -> String {
    let urn = parked.envelope.message_types.first().map_or("unknown type", String::as_str);
    let name = urn.strip_prefix("urn:message:").unwrap_or(urn);
    let due = parked.due_at.map(|due| when(due, now));
    match (parked.reason, due) {
        (ParkedReason::Retry, Some(due)) => {
            format!("{name}, which failed {} and is tried again {due}", times(parked.attempt))
        }
        (ParkedReason::Held, _) => format!("{name}, which waits behind an earlier message"),
        (ParkedReason::Deferred, _) => format!("{name}, which is kept for a later state"),
        (reason, Some(due)) => format!("{name} ({reason}, again {due})"),
        (reason, None) => format!("{name} ({reason}, until a person decides)"),
    }
}

fn times(n: u32) -> String {
    match n {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}

fn when(due: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let left = due - now;
    if left <= TimeDelta::zero() {
        return "due now".to_owned();
    }
    // Rounded up: what is due in half a second is not due in 0 s.
    let seconds = (left.num_milliseconds() + 999) / 1000;
    match seconds {
        ..120 => format!("in {seconds} s"),
        120..7200 => format!("in {} min", seconds / 60),
        7200..172_800 => format!("in {} h", seconds / 3600),
        _ => format!("on {}", due.format("%Y-%m-%d at %H:%M UTC")),
    }
}

/// Exchanges of the messages that some row takes in `state`.
fn taken_in(shape: &Shape, state: &str) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for row in &shape.rows {
        let here = row.states.is_empty() || row.states.iter().any(|own| own == state);
        if let EventShape::Message(exchange) = &row.on
            && here
            && !row.ignored
            && !taken.contains(exchange)
        {
            taken.push(exchange.clone());
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use knarr_model::shape::RowShape;
    use knarr_model::work::Losses;
    use knarr_model::{Book, Context, Envelope, Instance, InstanceId, MessageId, RowId};
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn json() -> Arc<RawValue> {
        RawValue::from_string("{}".to_owned()).expect("JSON").into()
    }

    fn detail(state: &str) -> InstanceDetail {
        let instance = Instance {
            saga: "scan".into(),
            id: InstanceId(Uuid::nil()),
            run: 1,
            state: state.to_owned(),
            version: 1,
            definition_version: 1,
            data: json(),
            book: Book::default(),
            incident: None,
        };
        InstanceDetail {
            instance,
            updated_at: now(),
            journal: Vec::new(),
            timers: Vec::new(),
            calls: Vec::new(),
            parked: Vec::new(),
        }
    }

    fn open_call(attempt: u32, due_in: i64) -> ActivityTask {
        ActivityTask {
            id: RowId(Uuid::nil()),
            endpoint: "scan".into(),
            saga: "scan".into(),
            instance: InstanceId(Uuid::nil()),
            run: 1,
            call: "AskVirusTotal".to_owned(),
            payload: json(),
            idempotency_key: Uuid::nil(),
            lost: Losses::default(),
            attempt,
            claims: 1,
            memo: None,
            due_at: now() + TimeDelta::seconds(due_in),
            retry: None,
            deadline: None,
            context: Context::default(),
        }
    }

    fn shape(ignored: bool) -> Shape {
        let row = RowShape {
            states: Vec::new(),
            on: EventShape::Message("Scan:Cancel".to_owned()),
            behaviours: Vec::new(),
            targets: Vec::new(),
            ignored,
        };
        let states = vec!["Scanning".to_owned()];
        Shape { saga: "scan".to_owned(), version: 1, states, rows: vec![row] }
    }

    #[test]
    fn a_call_that_processes_died_of_says_so() {
        let mut waits = detail("Scanning");
        let lost = |count| Losses { count, ..Losses::default() };
        waits.calls = vec![
            ActivityTask { lost: lost(1), ..open_call(1, 0) },
            ActivityTask { lost: lost(3), ..open_call(1, 0) },
        ];
        assert_eq!(
            why(&waits, None, now()),
            "It waits for the answer to AskVirusTotal (attempt 1, lost with a process that died), and \
             for the answer to AskVirusTotal (attempt 1, lost with 3 processes that died)."
        );
    }

    #[test]
    fn each_open_thing_is_named_with_its_time() {
        let mut waits = detail("Scanning");
        waits.calls = vec![open_call(2, 12), open_call(1, 0)];
        waits.timers = vec![Timer {
            id: RowId(Uuid::nil()),
            endpoint: "scan".into(),
            saga: "scan".into(),
            instance: InstanceId(Uuid::nil()),
            run: 1,
            name: "Deadline".to_owned(),
            due_at: now() + TimeDelta::minutes(30),
            attempt: 0,
            claims: 0,
            context: Context::default(),
        }];
        let envelope =
            Envelope::new(MessageId(Uuid::nil()), "urn:message:Scan:Note".to_owned(), json());
        waits.parked = vec![Parked {
            id: RowId(Uuid::nil()),
            endpoint: "scan".into(),
            saga: "scan".into(),
            message_id: MessageId(Uuid::nil()),
            digest: knarr_model::Digest([0; 16]),
            instance: None,
            seq: 1,
            reason: ParkedReason::Retry,
            attempt: 1,
            claims: 0,
            due_at: Some(now() + TimeDelta::milliseconds(500)),
            error: None,
            envelope: Arc::new(envelope),
        }];
        assert_eq!(
            why(&waits, Some(&shape(false)), now()),
            "It waits for the answer to AskVirusTotal (tried 2 times, again in 12 s), and for the \
             answer to AskVirusTotal (attempt 1), and for the timer Deadline (in 30 min), and for \
             Scan:Note, which failed once and is tried again in 1 s. It would also take Scan:Cancel."
        );
    }

    #[test]
    fn what_only_a_message_can_move_says_which() {
        let waits = detail("Scanning");
        let said = why(&waits, Some(&shape(false)), now());
        assert_eq!(said, "It waits for a message: Scan:Cancel.");
        assert!(why(&waits, Some(&shape(true)), now()).starts_with("Nothing can move it"));
        assert!(why(&waits, None, now()).contains("a message"));
        assert_eq!(why(&detail(FINAL), None, now()), "It has finished.");
        assert!(why(&detail(PURGED), None, now()).contains("purged"));
    }
}
