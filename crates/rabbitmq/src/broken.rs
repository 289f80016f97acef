//! What went wrong, read from the client's errors: refused by the broker, or out of reach.

use std::future::Future;
use std::time::Duration;

use knarr_model::ports::TransportError;
use lapin::ErrorKind;

/// Why something at the broker did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The broker said no; AMQP reply code and text. The channel is closed.
    Refused(u16, String),
    /// The channel was closed before, for a reason that others know.
    Closed(String),
    /// No connection, or no answer in time.
    Away(String),
}

impl Broken {
    /// What is wrong, for people.
    pub(crate) fn text(&self) -> String {
        match self {
            Broken::Refused(code, text) => format!("{code} {text}"),
            Broken::Closed(text) | Broken::Away(text) => text.clone(),
        }
    }
}

impl From<&lapin::Error> for Broken {
    fn from(error: &lapin::Error) -> Self {
        match error.kind() {
            // Hard errors close the connection: whom they mean is not known, so nobody is blamed.
            ErrorKind::ProtocolError(said) if error.is_amqp_soft_error() => {
                Broken::Refused(said.get_id(), said.get_message().to_string())
            }
            ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidChannel(_) => {
                Broken::Closed(error.to_string())
            }
            _ => Broken::Away(error.to_string()),
        }
    }
}

impl From<lapin::Error> for Broken {
    fn from(error: lapin::Error) -> Self {
        Broken::from(&error)
    }
}

impl From<Broken> for TransportError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Refused(code, text) => TransportError::Refused(explained(code, &text)),
            Broken::Closed(text) | Broken::Away(text) => TransportError::Away(text),
        }
    }
}

/// Awaits an answer of the broker, but not longer than `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Broken> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(Broken::from),
        Err(_) => Err(Broken::Away(format!("no answer to {what} within {limit:?}"))),
    }
}

/// An argument that differs from what exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inequivalent<'a> {
    /// `queue` or `exchange`.
    pub(crate) kind: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Which argument.
    pub(crate) argument: &'a str,
    /// Wanted and existing values, as the broker words them.
    pub(crate) values: &'a str,
}

/// Reads `PRECONDITION_FAILED - inequivalent arg 'x' for queue 'q' in vhost '/': received …`.
pub(crate) fn inequivalent(text: &str) -> Option<Inequivalent<'_>> {
    let (_, rest) = text.split_once("inequivalent arg '")?;
    let (argument, rest) = rest.split_once("' for ")?;
    let (kind, rest) = rest.split_once(" '")?;
    let (name, rest) = rest.split_once("' in vhost '")?;
    let (_, values) = rest.split_once("': ")?;
    Some(Inequivalent { kind, name, argument, values })
}

fn explained(code: u16, text: &str) -> String {
    match inequivalent(text) {
        Some(Inequivalent { kind, name, argument, values }) => format!(
            "the {kind} `{name}` exists with another `{argument}`: {values}; delete it, or take \
             it as it is (declare = passive)"
        ),
        None => format!("{code} {text}"),
    }
}

/// The exchange that a reply text speaks of: `… exchange 'x' in vhost …`.
pub(crate) fn named_exchange(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("exchange '")?;
    rest.split_once("' in vhost").map(|(name, _)| name)
}

/// The limit in `message size N is larger than (configured) max size M`.
pub(crate) fn size_limit(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("larger than ")?;
    let (_, rest) = rest.split_once("max size ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pe_042_a_differing_argument_is_named_with_its_queue() {
        let text = "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'orders' in \
                    vhost '/': received the value 'quorum' of type 'longstr' but current is none";
        let error = TransportError::from(Broken::Refused(406, text.to_owned())).to_string();
        for part in ["queue `orders`", "`x-queue-type`", "'quorum'", "current is none"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
        assert_eq!(inequivalent("PRECONDITION_FAILED - unknown delivery tag 7"), None);
    }

    #[test]
    fn reply_texts_name_the_exchange_and_the_limit() {
        let missing = "NOT_FOUND - no exchange 'a 'b' c' in vhost '/'";
        assert_eq!(named_exchange(missing), Some("a 'b' c"));
        let denied = "ACCESS_REFUSED - access to exchange 'x' in vhost '/' refused for user 'u'";
        assert_eq!(named_exchange(denied), Some("x"));
        assert_eq!(named_exchange("PRECONDITION_FAILED - unknown delivery tag 7"), None);
        let old = "PRECONDITION_FAILED - message size 134217729 is larger than max size 134217728";
        let new = "PRECONDITION_FAILED - message size 20 is larger than configured max size 16";
        assert_eq!((size_limit(old), size_limit(new)), (Some(134_217_728), Some(16)));
    }
}
