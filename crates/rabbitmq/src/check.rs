//! What of the settings cannot be used, told before anything is connected.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::address::Broker;
use crate::settings::{Part, Settings};

impl Settings {
    /// Every part that cannot be used, with the reason in words that repeat none of it.
    #[must_use]
    pub fn findings(&self) -> Vec<(Part, String)> {
        let mut found = Vec::new();
        if let Err(why) = Broker::parse(self) {
            found.push((Part::Url, why));
        }
        if let Some(why) = self.authorities.as_deref().and_then(no_certificates) {
            found.push((Part::Authorities, why));
        }
        if let Some(identity) = &self.identity {
            if let Some(why) = no_certificates(&identity.certificate) {
                found.push((Part::Certificate, why));
            }
            if PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).is_err() {
                found.push((Part::Key, "holds no private key that can be read".to_owned()));
            }
        }
        found
    }
}

/// Why this PEM holds no certificates.
fn no_certificates(pem: &str) -> Option<String> {
    let mut store = RootCertStore::empty();
    for (number, certificate) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let read = certificate.is_ok_and(|certificate| store.add(certificate).is_ok());
        if !read {
            return Some(format!("its certificate number {} cannot be read", number + 1));
        }
    }
    store.is_empty().then(|| "holds no certificate".to_owned())
}
