//! An authority of a test's own, with a certificate for a server and one for its client.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use tempfile::TempDir;

/// PEM files: `authority.pem`, and `.pem` and `.key` of `server` and `client`; gone when dropped.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

/// Names that all are alike would make each look as if it had signed itself.
fn named(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts).expect("names of hosts");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Certificates {
    /// Makes them for `localhost` and `127.0.0.1`.
    ///
    /// # Panics
    /// When there is no room for temporary files.
    pub fn make() -> Certificates {
        let folder = TempDir::with_prefix("knarr-tls-").expect("a temporary folder");
        let made = Certificates { folder };
        let mut params = named("authority", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        made.write("authority.pem", &authority.pem());
        for who in ["server", "client"] {
            let key = KeyPair::generate().expect("a key");
            let params = named(who, &["localhost", "127.0.0.1"]);
            let certificate = params.signed_by(&key, &authority).expect("a certificate");
            made.write(&format!("{who}.pem"), &certificate.pem());
            made.write(&format!("{who}.key"), &key.serialize_pem());
        }
        made
    }

    /// Where the file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// What the file says.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("one of our files")
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("our own folder");
    }
}
