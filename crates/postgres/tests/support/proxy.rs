//! A proxy before Postgres that a test can make lose an answer or fall silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What the proxy does with what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Carries everything.
    Carry = 0,
    /// Carries the next COMMIT to the server, and then cuts that connection before its answer.
    CutAfterCommit = 1,
    /// Carries nothing more, and closes nothing.
    Silent = 2,
}

/// A proxy of one test.
#[derive(Clone)]
pub(crate) struct Proxy {
    mode: Arc<AtomicU8>,
    port: u16,
}

impl Proxy {
    /// Starts carrying to the server of `url`.
    pub(crate) async fn start(url: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let proxy = Proxy { mode: Arc::new(AtomicU8::new(0)), port };
        let server = server_of(url);
        let own = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server is there");
                own.clone().carry(client, server);
            }
        });
        proxy
    }

    /// The same database through the proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        url.replace(&server_of(url), &format!("127.0.0.1:{}", self.port))
    }

    /// Changes what happens from now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Whether the proxy still waits for a COMMIT to cut.
    pub(crate) fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::SeqCst) == mode as u8
    }

    fn carry(self, client: TcpStream, server: TcpStream) {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let cut = Arc::new(tokio::sync::Notify::new());
        tokio::spawn(self.clone().carry_up(from_client, to_server, Arc::clone(&cut)));
        tokio::spawn(self.carry_down(from_server, to_client, cut));
    }

    async fn carry_up(
        self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        cut: Arc<tokio::sync::Notify>,
    ) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            if self.is(Mode::Silent) {
                std::future::pending::<()>().await;
            }
            let commits = bytes[..read].windows(7).any(|word| word == b"COMMIT\0");
            if commits && self.is(Mode::CutAfterCommit) {
                self.set(Mode::Carry);
                // No answer can come before the question: the cut is sure to be first.
                cut.notify_one();
                to.write_all(&bytes[..read]).await.expect("the server takes it");
                // The server reads and carries out what it was sent before it sees the end.
                to.shutdown().await.expect("the server is told the end");
                return;
            }
            if to.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    }

    async fn carry_down(
        self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        cut: Arc<tokio::sync::Notify>,
    ) {
        let mut bytes = vec![0; 1 << 16];
        loop {
            tokio::select! {
                biased;
                () = cut.notified() => return,
                read = from.read(&mut bytes) => {
                    let Ok(read @ 1..) = read else { return };
                    if self.is(Mode::Silent) {
                        std::future::pending::<()>().await;
                    }
                    if to.write_all(&bytes[..read]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// `host:port` of a URL.
fn server_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest).to_owned()
}
