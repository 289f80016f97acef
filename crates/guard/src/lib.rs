//! Stops, cleans up, sets aside: the token tree, admission, and the verdict on a failure.

pub mod admit;
pub mod token;
pub mod verdict;

pub use admit::{Admission, admit};
pub use token::{CallToken, Tokens};
pub use verdict::{Verdict, judge};
