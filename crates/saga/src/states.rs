//! The states that a machine's author declares, and where a branch may lead.

use std::fmt;

/// The states of a machine: an enum without fields. Derive it: `#[derive(Clone, Copy, States)]`.
///
/// `Initial`, `Final` and `Purged` exist in every machine and are not declared.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no set of states",
    label = "not states",
    note = "add #[derive(Clone, Copy, States)] to the enum `{Self}`"
)]
pub trait States: Copy + Send + Sync + 'static {
    /// Every state in declared order.
    const ALL: &'static [Self];
    /// Their names in the same order, as they are stored and shown.
    const NAMES: &'static [&'static str];

    /// The state's name.
    fn name(&self) -> &'static str;

    /// The state's place in declared order, from 0.
    fn number(self) -> usize {
        let name = self.name();
        Self::NAMES.iter().position(|have| *have == name).unwrap_or(Self::NAMES.len())
    }

    /// The state of that name.
    fn from_name(name: &str) -> Option<Self>;
}

/// Where a row leads: what `branch` declares, and what its behaviour answers.
#[derive(Clone, PartialEq, Eq)]
pub enum Target<S> {
    /// To a state of the machine.
    To(S),
    /// The run ends well.
    Finish,
    /// The instance stays where it is.
    Stay,
    /// The run fails: the saga's `on_failure` follows, nothing of this row is kept.
    Fail,
    /// Like [`Target::Fail`], with a reason for people; make it with [`fail`].
    FailFor(String),
}

/// A target that fails the run and says why.
///
/// As a declared target it is the same as [`Target::Fail`].
pub fn fail<S>(reason: impl fmt::Display) -> Target<S> {
    Target::FailFor(reason.to_string())
}

impl<S: States> From<S> for Target<S> {
    fn from(state: S) -> Self {
        Target::To(state)
    }
}

impl<S: States> fmt::Debug for Target<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::To(state) => f.write_str(state.name()),
            Target::Finish => f.write_str("Finish"),
            Target::Stay => f.write_str("Stay"),
            Target::Fail => f.write_str("Fail"),
            Target::FailFor(reason) => write!(f, "Fail ({reason})"),
        }
    }
}
