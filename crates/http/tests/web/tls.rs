//! Certificates: whose are trusted, and what a bad one comes to.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use knarr_http::{Client, FailureKind, Lookup, Response, Settings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::server::{Server, answer, impatient};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

/// A server for `good.example` with a certificate for `name`, signed by `by`.
async fn server(by: &Authority, name: &str, expired: bool) -> Server {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    if expired {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, by).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("they fit");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut heard = [0; 4096];
            let _ = stream.read(&mut heard).await;
            let _ = stream.write_all(answer("200 OK", "", "1").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

/// Every name is this machine.
struct Here;

#[async_trait]
impl Lookup for Here {
    async fn lookup(&self, _host: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

async fn ask(trusted: &Authority, server: &Server) -> Result<Response, knarr_http::Failure> {
    let settings = Settings {
        extra_roots: vec![trusted.pem().into_bytes()],
        connect_timeout: Duration::from_secs(2),
        silence: Duration::from_secs(5),
        timeout: Duration::from_secs(10),
        ..impatient()
    };
    let client = Client::with_lookup(settings, Arc::new(Here)).expect("a client");
    let url = format!("https://good.example:{}/", server.address.port());
    client.post_form(url, &[]).send().await
}

#[tokio::test]
async fn row_105_a_certificate_counts_if_it_is_trusted_valid_and_for_this_host() {
    let (ours, theirs) = (authority(), authority());
    let good = server(&ours, "good.example", false).await;
    assert_eq!(ask(&ours, &good).await.expect("all is well").status, 200);
    for (server, what) in [
        (server(&ours, "good.example", true).await, "expired"),
        (server(&ours, "evil.example", false).await, "for another host"),
        (server(&theirs, "good.example", false).await, "from a stranger"),
    ] {
        let failure = ask(&ours, &server).await.expect_err(what);
        let shown = (failure.class.as_str(), failure.kind);
        assert_eq!(shown, ("tls", FailureKind::Permanent), "{what}: {}", failure.reason);
    }
}

#[tokio::test]
async fn row_105_a_server_that_speaks_no_tls_was_never_asked() {
    let plain = Server::answering("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let failure = ask(&authority(), &plain).await.expect_err("no handshake");
    let shown = (failure.class.as_str(), failure.kind);
    assert_eq!(shown, ("connect", FailureKind::Transient), "{}", failure.reason);
}

#[test]
fn roots_that_cannot_be_read_are_named_at_start() {
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
    let settings = Settings { extra_roots: vec![broken], ..Settings::default() };
    let error = Client::new(settings).err().expect("no certificate").to_string();
    assert!(error.starts_with("the web client cannot be made"), "{error}");
}
