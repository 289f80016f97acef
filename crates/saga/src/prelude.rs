//! Everything that a saga's author names: `use knarr_saga::prelude::*;`.

pub use crate::Target::{Fail, Finish, Stay, To};
pub use crate::Unhandled::Ignore;
pub use crate::{
    Activity, Attempt, BlockBy, Call, CancellationToken, Dialects, Effects, Failure, FailureKind,
    Machine, Message, MissingPolicy, OnFailure, Quota, RetryPolicy, States, Table, Target, Timer,
    Unhandled, after, days, done, ended, fail, failed, hours, millis, minutes, on, seconds,
};
