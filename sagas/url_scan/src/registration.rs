//! Puts url-scan together: its definition and its two activities, ready to be registered.

use std::sync::Arc;

use knarr_http::Client;
use knarr_saga::{Definition, ErasedActivity, definition_with, erase};

use crate::machine::{UrlScan, table};
use crate::safe_browsing::SafeBrowsing;
use crate::settings::UrlScanSettings;
use crate::virus_total::VirusTotal;

/// The saga with its activities, which go out through `web`.
///
/// ```
/// use knarr_http::{Client, Settings};
/// use knarr_url_scan::{UrlScanSettings, url_scan};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let web = Client::new(Settings::default())?;
/// let (definition, activities) = url_scan(&UrlScanSettings::default(), &web);
/// assert_eq!(&**definition.name(), "url-scan");
/// assert_eq!(activities.len(), definition.calls().len());
/// # Ok(())
/// # }
/// ```
pub fn url_scan(
    settings: &UrlScanSettings,
    web: &Client,
) -> (Arc<dyn Definition>, Vec<Arc<dyn ErasedActivity>>) {
    let deadline = settings.deadline;
    let definition = definition_with::<UrlScan>(|m| table(m, deadline));
    let virus_total = VirusTotal::new(settings.virus_total.clone(), web.clone());
    let safe_browsing = SafeBrowsing::new(settings.safe_browsing.clone(), web.clone());
    (definition, vec![erase(virus_total), erase(safe_browsing)])
}
