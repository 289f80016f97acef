//! The peers' scenarios: which of them a test proves, which come later, which are not offered.

mod list;
mod page;

pub use list::{Answer, LIST, Scenario, Theme, parse};
pub use page::{PAGE, Report, render, report};
