//! What Safe Browsing may hold against a URL, and the finding that follows.

use std::collections::BTreeSet;

use crate::messages::{Finding, Verdict};

/// A list that a URL is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Threat {
    Malware,
    SocialEngineering,
    UnwantedSoftware,
    PotentiallyHarmfulApplication,
}

impl Threat {
    pub(crate) const ALL: [Threat; 4] = [
        Threat::Malware,
        Threat::SocialEngineering,
        Threat::UnwantedSoftware,
        Threat::PotentiallyHarmfulApplication,
    ];

    /// The name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Threat::Malware => "MALWARE",
            Threat::SocialEngineering => "SOCIAL_ENGINEERING",
            Threat::UnwantedSoftware => "UNWANTED_SOFTWARE",
            Threat::PotentiallyHarmfulApplication => "POTENTIALLY_HARMFUL_APPLICATION",
        }
    }

    /// The threat of that name; `None` for one that this version does not know.
    pub(crate) fn of_name(name: &str) -> Option<Threat> {
        Threat::ALL.into_iter().find(|threat| threat.name() == name)
    }
}

/// What follows from the threats found. Being on any list means that it harms.
pub(crate) fn finding(threats: &BTreeSet<Threat>) -> Finding {
    if threats.is_empty() {
        // Safe Browsing never says that a URL is safe.
        return Finding { verdict: Verdict::Clean, detail: "not listed".to_owned() };
    }
    let names: Vec<_> = threats.iter().map(|threat| threat.name()).collect();
    Finding { verdict: Verdict::Malicious, detail: format!("listed as {}", names.join(", ")) }
}
