//! The wire formats, judged by what real programs sent and did.

mod formats;
mod messages;
mod names;
mod recorded;
mod robustness;
mod verdicts;
