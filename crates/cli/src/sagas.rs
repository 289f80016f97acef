//! The one list of our sagas, each with the settings that it brings along.

use knarr::{App, Setting, Values, Wrong};
use knarr_url_scan::UrlScanSettings;

/// Our application: a new saga is one more line here.
pub(crate) fn app() -> App {
    App::new("knarr").settings(URL_SCAN).configured(url_scan)
}

fn url_scan(app: App, values: &Values) -> Result<App, Wrong> {
    let settings = UrlScanSettings::from_lookup(|name| values.lookup(name))
        .map_err(|bad| Wrong::new(bad.name, bad.why))?;
    let (saga, activities) = knarr_url_scan::url_scan(&settings, &values.web()?);
    Ok(app.saga_definition(saga).erased_activities(activities))
}

#[rustfmt::skip]
const URL_SCAN: &[Setting] = &[
    Setting::unset("VIRUSTOTAL_API_KEY",
        "The key for VirusTotal. Without one it is not asked, and counts as a source without an answer.").secret(),
    Setting::new("VIRUSTOTAL_URL", "https://www.virustotal.com",
        "Scheme and authority of VirusTotal."),
    Setting::new("VIRUSTOTAL_QUOTA", "4/min,500/day",
        "Requests that all processes together may make, in windows of `s`, `min`, `h` or `day`; or `unlimited`."),
    Setting::new("VIRUSTOTAL_POLL_INTERVAL", "20s",
        "How long to wait between two looks at an analysis."),
    Setting::new("VIRUSTOTAL_FRESH_FOR", "1d",
        "How old a report may be before a URL is analysed anew."),
    Setting::unset("SAFE_BROWSING_API_KEY",
        "The key for Google Safe Browsing. Without one it is not asked, and counts as a source without an answer.").secret(),
    Setting::new("SAFE_BROWSING_URL", "https://safebrowsing.googleapis.com",
        "Scheme and authority of Safe Browsing."),
    Setting::new("SAFE_BROWSING_VERSION", "v5",
        "Which interface of Safe Browsing: `v5` sends the first four bytes of hashes, `v4` the URL itself."),
    Setting::new("URL_SCAN_DEADLINE", "30m",
        "How long a scan waits for its sources before it ends with what it has."),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn s0_06_keys_and_addresses_are_settings_and_the_table_tells_their_true_defaults() {
        let told = |name: &str| {
            let setting = URL_SCAN.iter().find(|setting| setting.name == name);
            match setting.unwrap_or_else(|| panic!("{name} is not in the table")).default {
                knarr::Fallback::Text(text) => Some(text.to_owned()),
                _ => None,
            }
        };
        let by_table = UrlScanSettings::from_lookup(told).expect("the table's defaults are right");
        let by_itself = UrlScanSettings::from_lookup(|_| None).expect("nothing set is right");
        assert_eq!(format!("{by_table:?}"), format!("{by_itself:?}"));
    }

    #[test]
    fn the_reference_of_settings_is_as_the_table_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        let text = app().reference();
        if std::env::var_os("KNARR_RECORD").is_some() {
            std::fs::write(&path, &text).expect("docs can be written");
        }
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            page == text,
            "docs/configuration.md is not what the table of settings says; write it anew: \
             KNARR_RECORD=1 cargo test -p knarr-cli reference"
        );
    }
}
