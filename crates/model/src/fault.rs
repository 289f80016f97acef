//! How things fail: classed where the failure arises, never guessed later.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The three ways an activity's attempt ends without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// May work if tried again; used up, it becomes permanent with class `exhausted`.
    Transient,
    /// Will not work however often it is tried.
    Permanent,
    /// The effect may have happened: never repeated blindly, never guessed.
    Unknown,
    /// Not done yet: due again later, with no attempt used.
    Again,
}

/// Why an attempt gave no result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{class}: {reason}")]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// A short stable word for people and scripts, such as `quota` or `wrong-key`.
    pub class: String,
    /// What happened, in a sentence, without secrets.
    pub reason: String,
    /// When to try again at the earliest (`Retry-After`, or the wait of [`Failure::again`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Duration>,
    /// Small JSON handed to the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<Value>,
}

impl Failure {
    fn new(kind: FailureKind, class: impl Into<String>, reason: impl fmt::Display) -> Self {
        Failure {
            kind,
            class: class.into(),
            reason: cut(&reason.to_string(), MAX_REASON),
            after: None,
            memo: None,
        }
    }

    /// A failure that may pass.
    pub fn transient(class: impl Into<String>, reason: impl fmt::Display) -> Self {
        Failure::new(FailureKind::Transient, class, reason)
    }

    /// A failure that will not pass.
    pub fn permanent(class: impl Into<String>, reason: impl fmt::Display) -> Self {
        Failure::new(FailureKind::Permanent, class, reason)
    }

    /// An outcome that is not known: the request may have been carried out.
    pub fn unknown(class: impl Into<String>, reason: impl fmt::Display) -> Self {
        Failure::new(FailureKind::Unknown, class, reason)
    }

    /// Not done yet: try again after `after` with `memo`; uses no attempt.
    pub fn again(after: Duration, memo: Value) -> Self {
        let mut failure = Failure::new(FailureKind::Again, "again", "not done yet");
        failure.after = Some(after);
        failure.memo = Some(memo);
        failure
    }

    /// Says when to try again at the earliest.
    #[must_use]
    pub fn after(mut self, after: Duration) -> Self {
        self.after = Some(after);
        self
    }
}

/// The longest reason kept, in bytes.
pub const MAX_REASON: usize = 2048;

/// `text` cut to at most `limit` bytes at a character boundary.
pub fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
