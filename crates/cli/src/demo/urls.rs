//! The sample URLs, and how each must end.

/// How a scan ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Clean,
    Malicious,
    Suspicious,
    Unknown,
    /// The run failed: the message that started it is in quarantine.
    Failed,
}

impl End {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            End::Clean => "clean",
            End::Malicious => "malicious",
            End::Suspicious => "suspicious",
            End::Unknown => "unknown",
            End::Failed => "failed",
        }
    }
}

/// One URL to scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) url: &'static str,
    /// What is special about it.
    pub(super) about: &'static str,
    pub(super) end: End,
}

const fn sample(url: &'static str, about: &'static str, end: End) -> Sample {
    Sample { url, about, end }
}

/// The list. With its quota of four requests a window VirusTotal cannot be asked about all of them
/// at once: most of them wait their turn.
#[rustfmt::skip]
pub(super) const SAMPLES: &[Sample] = &[
    sample("https://clean.test/",                 "nobody holds anything against it",  End::Clean),
    sample("https://malicious.test/login",        "both services know it",             End::Malicious),
    sample("http://suspicious.test/offer",        "VirusTotal finds it doubtful",      End::Suspicious),
    sample("https://unknown.test/new",            "not known until it is submitted",   End::Clean),
    sample("https://slow.test/large",             "analysed for a while: polled",      End::Clean),
    sample("https://boom.test/",                  "both services fail twice: retried", End::Clean),
    sample("https://never.test/",                 "never analysed: the deadline ends it", End::Unknown),
    sample("https://clean.test/a",                "one of many: they share a quota",   End::Clean),
    sample("https://clean.test/b",                "one of many: they share a quota",   End::Clean),
    sample("https://clean.test/c?x=1",            "one of many: they share a quota",   End::Clean),
    sample("https://www.malicious.test/d",        "one of many: they share a quota",   End::Malicious),
    sample("https://shop.suspicious.test/e",      "one of many: they share a quota",   End::Suspicious),
    sample("https://collide.test/",               "shares its hash prefix with another URL", End::Clean),
    sample("https://refused.test/",               "both services fail for good",       End::Failed),
];
