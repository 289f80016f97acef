//! Over TLS, with an authority of one's own and a certificate on both sides.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use knarr_model::HeaderValue;
use knarr_model::ports::transport::Published;
use knarr_model::ports::{Publisher as _, Transport as _};
use knarr_model::topology::QueueKind;
use knarr_rabbitmq::{Identity, Settings};
use knarr_testkit::services::rabbitmq::Private;

use crate::parts::{confirmed, endpoint, open, ping, taken};

fn openssl(dir: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(dir);
    let output = command.output().expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {said}");
}

/// An authority, a server's and a client's certificate, as PEM files.
fn certificates(dir: &Path) {
    let key = "-newkey rsa:2048 -nodes";
    openssl(dir, &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ours"));
    std::fs::write(dir.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("ours");
    for who in ["server", "client"] {
        let request = format!("req {key} -keyout {who}.key -out {who}.csr -subj /CN={who}");
        openssl(dir, &request);
        let sign = format!(
            "x509 -req -in {who}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile names -out {who}.pem"
        );
        openssl(dir, &sign);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pe_046_with_a_certificate_on_both_sides_messages_and_headers_pass() {
    let dir = tempfile::tempdir().expect("a folder");
    certificates(dir.path());
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let read = |name: &str| std::fs::read_to_string(at(name)).expect("made above");
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("bound").port()
    };
    let broker = Private::launch_with(&format!(
        "listeners.ssl.default = 127.0.0.1:{port}\n\
         ssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
         ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true",
        at("ca.pem"),
        at("server.pem"),
        at("server.key"),
    ))
    .await;
    assert_ne!(broker.port(), port);
    let mut settings = Settings::new(format!("amqps://guest:guest@localhost:{port}/%2f"));
    settings.deadline = Duration::from_secs(5);
    settings.authorities = Some(read("ca.pem"));
    let anonymous = open(settings.clone());
    let refused = anonymous.publish(&[ping(0)]).await;
    assert!(matches!(refused[0], Published::Unknown(_)), "{refused:?}");
    settings.identity = Some(Identity { certificate: read("client.pem"), key: read("client.key") });
    let transport = open(settings);
    assert!(transport.address("q").starts_with(&format!("rabbitmqs://localhost:{port}/")));
    let mut consumer = transport.consume(&endpoint("tls", QueueKind::Quorum)).await.expect("one");
    let mut message = ping(1);
    message.headers.set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    message.headers.set("bytes", HeaderValue::Bytes(vec![0, 255]));
    assert_eq!(transport.publish(std::slice::from_ref(&message)).await, confirmed(1));
    assert_eq!(taken(&mut *consumer, 1).await[0].headers, message.headers);
}
