//! Nothing lasts longer and nothing grows larger than the settings say.

#![expect(clippy::disallowed_methods, reason = "sockets live in real time, which is measured")]

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use knarr_http::{Client, FailureKind, Settings};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::server::{Server, client, impatient, request};

async fn hang(stream: TcpStream) {
    sleep(Duration::from_secs(600)).await;
    drop(stream);
}

#[tokio::test]
async fn row_098_a_server_that_hangs_after_accept_after_headers_or_mid_body_is_given_up() {
    let silent = Server::start(hang).await;
    let after_headers = Server::start(|mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await;
        hang(stream).await;
    })
    .await;
    let mid_body = Server::start(|mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345").await;
        hang(stream).await;
    })
    .await;
    for server in [&silent, &after_headers, &mid_body] {
        let begun = Instant::now();
        let failure = client().get(server.url("/")).send().await.expect_err("it hangs");
        assert_eq!((failure.class.as_str(), failure.kind), ("timeout", FailureKind::Transient));
        assert!(failure.reason.contains("said nothing for too long"), "{}", failure.reason);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn row_099_a_slow_drip_ends_at_the_total_deadline() {
    let server = Server::start(|mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let begun = Instant::now();
    let failure = client().get(server.url("/")).send().await.expect_err("it drips");
    assert_eq!((failure.class.as_str(), failure.kind), ("timeout", FailureKind::Transient));
    assert!(failure.reason.contains("no whole answer within 1.5s"), "{}", failure.reason);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1_400) && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn row_098_a_port_where_nobody_listens_is_transient() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let failure = client().post_form(format!("http://{address}/"), &[]).send().await;
    let failure = failure.expect_err("nobody is there");
    assert_eq!((failure.class.as_str(), failure.kind), ("connect", FailureKind::Transient));
}

#[tokio::test]
async fn row_104_a_gigabyte_is_neither_read_nor_held() {
    let sent = Arc::new(AtomicUsize::new(0));
    let flooding = |head: &'static str| {
        let sent = sent.clone();
        Server::start(move |mut stream| {
            let sent = sent.clone();
            async move {
                request(&mut stream).await;
                let _ = stream.write_all(head.as_bytes()).await;
                let block = vec![b'x'; 1 << 16];
                while sent.load(SeqCst) < 1 << 30 && stream.write_all(&block).await.is_ok() {
                    sent.fetch_add(block.len(), SeqCst);
                }
            }
        })
    };
    let announced = flooding("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await;
    let endless = flooding("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
    for server in [&announced, &endless] {
        let failure = client().get(server.url("/")).send().await.expect_err("too much");
        assert_eq!((failure.class.as_str(), failure.kind), ("too-large", FailureKind::Permanent));
        assert!(failure.reason.contains("1048576 bytes"), "{}", failure.reason);
    }
    // Whatever it answered, it has taken the request.
    let failure = client().post_form(endless.url("/"), &[]).send().await.expect_err("too much");
    assert_eq!((failure.class.as_str(), failure.kind), ("too-large", FailureKind::Unknown));
    // What the sockets' buffers take was sent; the rest was not even asked for.
    assert!(sent.load(SeqCst) < 1 << 27, "{} bytes were taken", sent.load(SeqCst));
}

#[tokio::test]
async fn row_104_a_gzip_bomb_is_counted_as_it_is_inflated() {
    // 16 KiB on the wire for 2 MiB of zeros: far below the cap before inflating, above it after.
    let bomb = zeros_in_gzip(2 << 20);
    assert!(bomb.len() < 1 << 15, "{}", bomb.len());
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    )
    .into_bytes();
    answer.extend(bomb);
    let server = Server::answering(answer).await;
    let failure = client().get(server.url("/")).send().await.expect_err("too much");
    assert_eq!((failure.class.as_str(), failure.kind), ("too-large", FailureKind::Permanent));
    let wide = Settings { max_body: 4 << 20, ..impatient() };
    let wide = Client::new(wide).expect("a client");
    // The same bytes are an answer where they fit; the missing checksum shows that they were read
    // to their end.
    let failure = wide.get(server.url("/")).send().await.expect_err("no checksum");
    assert_eq!(failure.class, "broken", "{}", failure.reason);
}

/// A gzip stream (without the checksum at its end) of `length` zeros: one literal, then copies of
/// 258 bytes from one byte back, in deflate's fixed code (RFC 1951, 3.2.6).
fn zeros_in_gzip(length: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.push(0b011, 3); // The last block, fixed code; numbers begin with their lowest bit.
    bits.push(0b0000_1100, 8); // Literal 0 is 00110000; codes begin with their highest bit.
    for _ in 0..length / 258 {
        bits.push(0b1010_0011, 8); // Length 258 is symbol 285: 11000101.
        bits.push(0, 5); // Distance 1.
    }
    bits.push(0, 7); // The end of the block.
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    gzip.extend(bits.bytes);
    gzip
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        for bit in 0..count {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().expect("pushed just now");
            *last |= (((value >> bit) & 1) << (self.used % 8)) as u8;
            self.used += 1;
        }
    }
}
