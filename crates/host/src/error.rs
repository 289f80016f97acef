//! Why a process could not start or a verb did not work, and the exit code that says so.

use std::process::ExitCode;

use crate::config::Wrong;

/// What ends a verb.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Settings that cannot be used: a line each.
    #[error("{}", lines(.0))]
    Config(Vec<Wrong>),
    /// Machines or activities that do not fit together: a line each.
    #[error("{}", .0.join("\n"))]
    Findings(Vec<String>),
    /// The address of the admin API cannot be listened on.
    #[error("KNARR_LISTEN: cannot listen on {address}: {why}")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        why: String,
    },
    /// The store refuses for good.
    #[error("KNARR_STORE: {0}")]
    Store(String),
    /// The broker refuses for good.
    #[error("KNARR_BROKER: {0}")]
    Broker(String),
    /// The admin API said no, or could not be reached.
    #[error("{0}")]
    Server(String),
    /// A file or stream of ours failed.
    #[error("{0}")]
    Io(String),
    /// The verb did its work, and the answer is no.
    #[error("{0}")]
    Failed(String),
    /// The process is no longer whole and should be started again.
    #[error("{0}")]
    Restart(String),
    /// Whoever read our output has gone: nothing is left to do, and nothing is wrong.
    #[error("the output was closed")]
    Closed,
}

impl Error {
    /// 1 failed, 2 usage or configuration, 70 restart me; 0 where nothing is wrong.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Error::Config(_) => 2,
            Error::Restart(_) => 70,
            Error::Closed => 0,
            _ => 1,
        }
    }

    /// A setting that cannot be used.
    pub(crate) fn wrong(name: &str, why: impl std::fmt::Display) -> Error {
        Error::Config(vec![Wrong::new(name, why)])
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Error::Closed,
            _ => Error::Io(error.to_string()),
        }
    }
}

impl From<Vec<Wrong>> for Error {
    fn from(wrongs: Vec<Wrong>) -> Self {
        Error::Config(wrongs)
    }
}

impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        Error::Config(vec![wrong])
    }
}

fn lines(wrongs: &[Wrong]) -> String {
    wrongs.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        for (error, code) in [
            (Error::wrong("KNARR_LANES", "is none"), 2),
            (Error::Findings(vec!["x".to_owned()]), 1),
            (Error::Store("refused".to_owned()), 1),
            (Error::Restart("broken".to_owned()), 70),
            (std::io::Error::from(std::io::ErrorKind::BrokenPipe).into(), 0),
        ] {
            assert_eq!(error.code(), code, "{error}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_a_line() {
        let error = Error::from(vec![Wrong::new("A", "is x"), Wrong::new("B", "is y")]);
        assert_eq!(error.to_string(), "A: is x\nB: is y");
    }
}
