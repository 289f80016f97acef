//! Why an engine does not start.

/// What is wrong with what an engine was given, all of it at once.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Machines or activities that do not fit together: one line a finding.
    #[error("{}", .0.join("\n"))]
    Findings(Vec<String>),
}
