//! A TCP proxy for tests: what flows between a program and a server is slow, torn, held or lost.

#![expect(
    clippy::disallowed_methods,
    reason = "this stands between real programs, which know no simulated time"
)]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes carried at once.
const CHUNK: usize = 16 << 10;

/// What happens to bytes on their way in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They arrive.
    Flow,
    /// Each piece takes so long, at least and at most.
    Late(Duration, Duration),
    /// They arrive one by one, each in a write of its own.
    OneByOne,
    /// They wait, and arrive when the way is another one again: a partition that heals, or a peer
    /// that stands still.
    Hold,
    /// They are swallowed. A connection that has lost some is reset once the way is another one.
    Lose,
}

/// What holds for all connections.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// Towards the server.
    up: Way,
    /// Towards the program.
    down: Way,
    /// Rises when every connection is to be reset.
    torn: u64,
}

#[derive(Clone, Copy)]
enum Side {
    Up,
    Down,
}

impl Terms {
    fn way(&self, side: Side) -> Way {
        match side {
            Side::Up => self.up,
            Side::Down => self.down,
        }
    }
}

/// A proxy on a free loopback port. Dropping it resets every connection.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    terms: watch::Sender<Terms>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Stands before the server that `url` names with its host and port.
    ///
    /// # Errors
    /// When the URL names no `host:port`, or there is no port to listen on.
    pub async fn before(url: &str) -> io::Result<Proxy> {
        let (head, server, tail) = split(url).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "no host:port in the URL")
        })?;
        let server = tokio::net::lookup_host(server).await?.next();
        let server = server.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("{head}{}{tail}", listener.local_addr()?);
        let terms = watch::Sender::new(Terms { up: Way::Flow, down: Way::Flow, torn: 0 });
        let serving = tokio::spawn(serve(listener, server, terms.subscribe()));
        Ok(Proxy { url, terms, serving })
    }

    /// The server's URL, through the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What happens towards the server.
    pub fn up(&self, way: Way) {
        self.terms.send_modify(|terms| terms.up = way);
    }

    /// What happens towards the program.
    pub fn down(&self, way: Way) {
        self.terms.send_modify(|terms| terms.down = way);
    }

    /// What happens in both directions.
    pub fn both(&self, way: Way) {
        self.terms.send_modify(|terms| (terms.up, terms.down) = (way, way));
    }

    /// Resets every connection (RST to both ends); new ones are taken as before.
    pub fn reset(&self) {
        self.terms.send_modify(|terms| terms.torn += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A URL before its `host:port`, that, and the rest.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let authority = url.find("://")? + 3;
    let end = url[authority..].find(['/', '?']).map_or(url.len(), |at| authority + at);
    let begin = url[authority..end].rfind('@').map_or(authority, |at| authority + at + 1);
    let server = &url[begin..end];
    server.contains(':').then_some((&url[..begin], server, &url[end..]))
}

async fn serve(listener: TcpListener, server: SocketAddr, terms: watch::Receiver<Terms>) {
    let mut number = 0;
    while let Ok((near, _)) = listener.accept().await {
        number += 1;
        tokio::spawn(connect(near, server, terms.clone(), number));
    }
}

/// A connection was reset, or is to be.
struct Torn;

/// Carries one connection until both sides have ended it, or it is torn.
async fn connect(
    mut near: TcpStream,
    server: SocketAddr,
    mut terms: watch::Receiver<Terms>,
    number: u64,
) {
    let torn = terms.borrow_and_update().torn;
    let carried = match TcpStream::connect(server).await {
        Err(_) => Err(Torn),
        Ok(mut far) => {
            let _best_effort = (near.set_nodelay(true), far.set_nodelay(true));
            let carried = {
                let (near_from, near_to) = near.split();
                let (far_from, far_to) = far.split();
                let up = carry(near_from, far_to, terms.clone(), (Side::Up, 2 * number));
                let down = carry(far_from, near_to, terms.clone(), (Side::Down, 2 * number + 1));
                tokio::select! {
                    biased;
                    _told_or_gone = terms.wait_for(|terms| terms.torn != torn) => Err(Torn),
                    carried = futures_util::future::try_join(up, down) => carried.map(drop),
                }
            };
            if carried.is_err() {
                let _gone_already = far.set_zero_linger();
            }
            carried
        }
    };
    if carried.is_err() {
        let _gone_already = near.set_zero_linger();
    }
}

/// Carries one direction to its end.
async fn carry(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut terms: watch::Receiver<Terms>,
    (side, mut dice): (Side, u64),
) -> Result<(), Torn> {
    let mut buffer = vec![0; CHUNK];
    let mut lost = false;
    loop {
        let read = tokio::select! {
            biased;
            changed = terms.changed(), if lost => {
                changed.map_err(|_| Torn)?;
                if terms.borrow().way(side) != Way::Lose {
                    return Err(Torn);
                }
                continue;
            }
            read = from.read(&mut buffer) => read.map_err(|_| Torn)?,
        };
        let bytes = &buffer[..read];
        loop {
            let way = terms.borrow_and_update().way(side);
            match way {
                Way::Lose => lost = true,
                _ if lost => return Err(Torn),
                Way::Hold => {
                    terms.changed().await.map_err(|_| Torn)?;
                    continue;
                }
                Way::Flow => to.write_all(bytes).await.map_err(|_| Torn)?,
                Way::Late(least, most) => {
                    tokio::time::sleep(between(&mut dice, least, most)).await;
                    to.write_all(bytes).await.map_err(|_| Torn)?;
                }
                Way::OneByOne => {
                    for byte in bytes {
                        to.write_all(&[*byte]).await.map_err(|_| Torn)?;
                    }
                }
            }
            break;
        }
        match read {
            // The end of what is lost is lost with it: only a reset tells.
            0 if lost => {
                terms.wait_for(|terms| terms.way(side) != Way::Lose).await.map_err(|_| Torn)?;
                return Err(Torn);
            }
            0 => return to.shutdown().await.map_err(|_| Torn),
            _ => {}
        }
    }
}

/// A moment that looks random and comes again with its connection: SplitMix64.
fn between(dice: &mut u64, least: Duration, most: Duration) -> Duration {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *dice;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let room = most.saturating_sub(least).as_micros() + 1;
    let micros = u64::try_from(u128::from(mixed) % room).unwrap_or_default();
    least + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says everything back, a proxy before it, and a connection through both.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("echo://me:secret@{}/room", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _until_the_end = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let proxy = Proxy::before(&url).await.expect("a proxy");
        let stream = open(&proxy).await;
        (proxy, stream)
    }

    async fn open(proxy: &Proxy) -> TcpStream {
        let (_, address, _) = split(proxy.url()).expect("our own URL");
        TcpStream::connect(address).await.expect("it listens")
    }

    async fn said(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        heard(stream, text.len()).await
    }

    async fn heard(stream: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
        let mut back = vec![0; length];
        stream.read_exact(&mut back).await?;
        Ok(back)
    }

    /// Nothing comes for a while.
    async fn is_silent(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        let wait = Duration::from_millis(100);
        tokio::time::timeout(wait, stream.read_exact(&mut byte)).await.is_err()
    }

    #[tokio::test]
    async fn bytes_flow_late_and_one_by_one_and_the_end_is_passed_on() {
        let (proxy, mut stream) = echo().await;
        assert!(proxy.url().starts_with("echo://me:secret@127.0.0.1:"), "{}", proxy.url());
        assert!(proxy.url().ends_with("/room"), "{}", proxy.url());
        assert_eq!(said(&mut stream, b"one").await.expect("an echo"), b"one");
        proxy.both(Way::OneByOne);
        let long = vec![7; 3 * CHUNK];
        assert_eq!(said(&mut stream, &long).await.expect("an echo"), long);
        let (least, most) = (Duration::from_millis(20), Duration::from_millis(40));
        proxy.both(Way::Late(least, most));
        let began = tokio::time::Instant::now();
        assert_eq!(said(&mut stream, b"late").await.expect("an echo"), b"late");
        assert!(began.elapsed() >= 2 * least, "it took {:?}", began.elapsed());
        stream.shutdown().await.expect("shut down");
        assert_eq!(stream.read(&mut [0]).await.expect("an orderly end"), 0);
    }

    #[tokio::test]
    async fn what_is_held_arrives_later_in_order() {
        let (proxy, mut stream) = echo().await;
        proxy.down(Way::Hold);
        stream.write_all(b"ab").await.expect("written");
        assert!(is_silent(&mut stream).await);
        stream.write_all(b"cd").await.expect("written");
        proxy.down(Way::Flow);
        assert_eq!(heard(&mut stream, 4).await.expect("all of it"), b"abcd");
    }

    #[tokio::test]
    async fn who_has_lost_bytes_is_reset_when_the_way_is_free_and_others_are_not() {
        let (proxy, mut stream) = echo().await;
        let mut quiet = open(&proxy).await;
        assert_eq!(said(&mut quiet, b"x").await.expect("an echo"), b"x");
        proxy.up(Way::Lose);
        stream.write_all(b"lost").await.expect("written");
        assert!(is_silent(&mut stream).await);
        proxy.up(Way::Flow);
        stream.read_exact(&mut [0]).await.expect_err("it was reset");
        assert_eq!(said(&mut quiet, b"y").await.expect("an echo"), b"y");
    }

    #[tokio::test]
    async fn a_reset_is_one_to_both_ends() {
        let (proxy, mut stream) = echo().await;
        assert_eq!(said(&mut stream, b"x").await.expect("an echo"), b"x");
        proxy.reset();
        let error = stream.read_exact(&mut [0]).await.expect_err("it was reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        let mut next = open(&proxy).await;
        assert_eq!(said(&mut next, b"y").await.expect("an echo"), b"y");
        drop(proxy);
        next.read_exact(&mut [0]).await.expect_err("it was reset with the proxy");
    }
}
