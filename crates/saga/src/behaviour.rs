//! What behaviours may answer, and how they are kept once their types are erased.

use std::any::Any;
use std::error::Error;

use crate::effects::Effects;
use crate::states::{States, Target};

/// Why a behaviour failed: the chain of errors, outermost first.
pub(crate) type Chain = Vec<String>;

/// A behaviour of `then`, its event's type erased.
pub(crate) type Step<M> =
    Box<dyn Fn(&mut M, &dyn Any, &mut Effects<M>) -> Result<(), Chain> + Send + Sync>;
/// A behaviour of `create`.
pub(crate) type Create<M> =
    Box<dyn Fn(&dyn Any, &mut Effects<M>) -> Result<M, Chain> + Send + Sync>;
/// A behaviour of `branch`.
pub(crate) type Choose<M> =
    Box<dyn Fn(&mut M, &dyn Any, &mut Effects<M>) -> Result<Aim, Chain> + Send + Sync>;
/// A question about an instance and an event.
pub(crate) type Question<M> = Box<dyn Fn(&M, &dyn Any) -> bool + Send + Sync>;

/// A target with the state as its number in the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    To(usize),
    Finish,
    Stay,
    Fail(Option<String>),
}

impl Aim {
    pub(crate) fn of<S: States>(target: Target<S>) -> Aim {
        match target {
            Target::To(state) => Aim::To(state.number()),
            Target::Finish => Aim::Finish,
            Target::Stay => Aim::Stay,
            Target::Fail => Aim::Fail(None),
            Target::FailFor(reason) => Aim::Fail(Some(reason)),
        }
    }

    /// The same exit, whatever the reason.
    pub(crate) fn is_like(&self, other: &Aim) -> bool {
        matches!((self, other), (Aim::Fail(_), Aim::Fail(_))) || self == other
    }
}

/// What a behaviour of `then` may answer: nothing, or a `Result` whose error undoes the row.
#[diagnostic::on_unimplemented(
    message = "a behaviour answers `()` or `Result<(), E>`, not `{Self}`",
    note = "to choose where the row leads, end it with .branch([..], behaviour)"
)]
pub trait IntoOutcome {
    /// The outcome; an error is a chain of texts, outermost first.
    #[doc(hidden)]
    fn into_outcome(self) -> Result<(), Vec<String>>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<(), Vec<String>> {
        Ok(())
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> IntoOutcome for Result<(), E> {
    fn into_outcome(self) -> Result<(), Vec<String>> {
        self.map_err(chain)
    }
}

/// What a behaviour of `create` may answer: the machine, or a `Result` with it.
#[diagnostic::on_unimplemented(
    message = "a start behaviour answers the machine or `Result<machine, E>`, not `{Self}`"
)]
pub trait IntoCreated<M> {
    /// The new instance's data.
    #[doc(hidden)]
    fn into_created(self) -> Result<M, Vec<String>>;
}

impl<M> IntoCreated<M> for M {
    fn into_created(self) -> Result<M, Vec<String>> {
        Ok(self)
    }
}

impl<M, E: Into<Box<dyn Error + Send + Sync>>> IntoCreated<M> for Result<M, E> {
    fn into_created(self) -> Result<M, Vec<String>> {
        self.map_err(chain)
    }
}

/// What a behaviour of `branch` may answer: a [`Target`], a state, or a `Result` with either.
#[diagnostic::on_unimplemented(
    message = "a branch behaviour answers a `Target`, a state, or a `Result` with one, not `{Self}`"
)]
pub trait IntoTarget<S> {
    /// The target.
    #[doc(hidden)]
    fn into_target(self) -> Result<Target<S>, Vec<String>>;
}

impl<S> IntoTarget<S> for Target<S> {
    fn into_target(self) -> Result<Target<S>, Vec<String>> {
        Ok(self)
    }
}

impl<S: States> IntoTarget<S> for S {
    fn into_target(self) -> Result<Target<S>, Vec<String>> {
        Ok(Target::To(self))
    }
}

impl<S, T: Into<Target<S>>, E: Into<Box<dyn Error + Send + Sync>>> IntoTarget<S> for Result<T, E> {
    fn into_target(self) -> Result<Target<S>, Vec<String>> {
        self.map(Into::into).map_err(chain)
    }
}

fn chain(error: impl Into<Box<dyn Error + Send + Sync>>) -> Chain {
    let error = error.into();
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source.filter(|_| texts.len() < MAX_CHAIN) {
        texts.push(cause.to_string());
        source = cause.source();
    }
    texts
}

/// No chain of errors is kept longer.
const MAX_CHAIN: usize = 16;
