//! Scans a submitted URL with VirusTotal and Safe Browsing and publishes one verdict.
//!
//! One line registers it: [`url_scan`] gives the definition and the two activities.
#![warn(missing_docs)]

pub mod canonical;
mod expressions;
mod hash_cache;
mod hashes;
mod machine;
mod messages;
mod policy;
mod quota;
mod registration;
mod safe_browsing;
mod settings;
mod tables;
mod threats;
mod virus_total;

pub use expressions::expressions;
pub use machine::{Step, UrlScan};
pub use messages::{
    AskSafeBrowsing, AskVirusTotal, CancelScan, Finding, Source, SubmitUrl, SubmittedUrl,
    UrlScanFailed, UrlScanned, Verdict,
};
pub use policy::refusal;
pub use quota::parse_quotas;
pub use registration::url_scan;
pub use safe_browsing::SafeBrowsing;
pub use settings::{
    BadSetting, SafeBrowsingSettings, SafeBrowsingVersion, UrlScanSettings, VirusTotalSettings,
};
pub use virus_total::VirusTotal;
