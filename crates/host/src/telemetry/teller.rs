//! Says once that something cannot be sent, and once that it can again.

/// What was last said about one signal.
#[derive(Default)]
pub(super) struct Teller {
    told: bool,
}

impl Teller {
    /// It could not be sent.
    pub(super) fn failed(&mut self, what: &str, to: &str, why: &str) {
        if !self.told {
            tracing::warn!(
                "{what} cannot be sent to {to}: {why} (OTEL_EXPORTER_OTLP_ENDPOINT); \
                 everything else goes on"
            );
        }
        self.told = true;
    }

    /// It was sent.
    pub(super) fn worked(&mut self, what: &str, to: &str) {
        if self.told {
            tracing::info!("{what} are sent to {to} again");
        }
        self.told = false;
    }
}
