//! Short words for what a script says.

use super::errand::Act;

pub(crate) fn tell(what: &str) -> Act {
    Act::Tell(what.to_owned())
}

pub(crate) fn cry(what: &str) -> Act {
    Act::Cry(what.to_owned())
}

pub(crate) fn send(to: &str, what: &str) -> Act {
    Act::Send(to.to_owned(), what.to_owned())
}

pub(crate) fn respond(what: &str) -> Act {
    Act::Respond(what.to_owned())
}

/// Sets a timer, due in so many milliseconds.
pub(crate) fn set(timer: &str, millis: i64) -> Act {
    Act::Set(timer.to_owned(), millis)
}

pub(crate) fn cancel(timer: &str) -> Act {
    Act::Cancel(timer.to_owned())
}

pub(crate) fn ask(what: &str) -> Act {
    Act::Ask(what.to_owned())
}

pub(crate) fn dare(what: &str) -> Act {
    Act::Dare(what.to_owned())
}

/// Fails, always.
pub(crate) fn fails(why: &str) -> Act {
    Act::Break(why.to_owned())
}

/// Fails the first so many times.
pub(crate) fn fails_first(label: &str, times: u32) -> Act {
    Act::BreakFirst(label.to_owned(), times)
}
