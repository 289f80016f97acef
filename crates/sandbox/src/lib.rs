//! Stand-ins for outside services, spoken to over HTTP: VirusTotal v3 and Google Safe Browsing v4 and v5.
//!
//! What they answer follows from the host of the URL they are asked about and from the key:
//!
//! | host | VirusTotal | Safe Browsing |
//! |---|---|---|
//! | `clean.test` and every host not named here | known, harmless | not listed |
//! | `malicious.test` | known, malicious | malware |
//! | `suspicious.test` | known, suspicious | not listed |
//! | `unknown.test` | not known until submitted, then harmless | not listed |
//! | `slow.test` | not known; queued for two polls, in progress for one, then harmless | not listed |
//! | `never.test` | not known; queued for ever | not listed |
//! | `boom.test` | 503 the first two times, then harmless | the same, then not listed |
//! | `deadline.test` | 504 always | 504 always |
//! | `html.test` | 502 with an HTML page always | the same |
//! | `refused.test` | 403 always | 403 always |
//! | `future.test` | known, harmless | a threat type nobody knows yet |
//! | `collide.test` | known, harmless | another URL's hash with the same prefix |
//!
//! | key | VirusTotal | Safe Browsing |
//! |---|---|---|
//! | `ok-key` | works, within the quota | works |
//! | `premium-key` | works, without quota | works |
//! | `bad-key` and any other | 401 `WrongCredentialsError` | 400 `API_KEY_INVALID` |
//! | `inactive-key` | 401 `UserNotActiveError` | 400 `API_KEY_INVALID` |
//! | `no-quota-key` | 429 `QuotaExceededError` | 429 with `RetryInfo` |
//! | none | 401 `AuthenticationRequiredError` | 403 `PERMISSION_DENIED` |
//!
//! `GET /_log` lists the requests so far, `GET /_open` how many are being answered now.

mod answer;
mod hosts;
mod quota;
mod requests;
mod safe_browsing;
mod server;
mod settings;
mod shared;
mod virus_total;

pub use requests::Request;
pub use server::Sandbox;
pub use settings::{Now, Settings};
