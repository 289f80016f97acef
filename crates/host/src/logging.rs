//! What is logged, to standard error: for people or as one JSON object a line.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::out;

/// Begins to log. A process that embeds us and logs already keeps its own way.
pub(crate) fn begin(filter: EnvFilter, format: LogFormat) {
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = match format {
        LogFormat::Human => builder.with_ansi(out::is_watched()).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = begun {
        tracing::debug!("another logger is in place: {error}");
    }
}
