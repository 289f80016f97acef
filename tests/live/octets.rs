//! A publisher that speaks AMQP byte by byte: it sends what no client library would.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::World;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xce;

/// A connection with one channel that confirms.
pub(crate) struct Octets {
    stream: TcpStream,
    frame_max: usize,
}

/// Text of at most 255 bytes, with its length.
pub(crate) fn short(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let length = u8::try_from(text.len()).expect("a short text");
    [&[length], text].concat()
}

/// Bytes with their length.
pub(crate) fn long(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u32::try_from(bytes.len()).expect("not that long");
    [&length.to_be_bytes(), bytes].concat()
}

/// A field of a table: its name, the letter of its type, its value.
pub(crate) fn field(name: impl AsRef<[u8]>, letter: u8, value: &[u8]) -> Vec<u8> {
    [&*short(name), &[letter], value].concat()
}

/// A field of text.
pub(crate) fn text(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    field(name, b'S', &long(value))
}

impl Octets {
    pub(crate) async fn open(world: &World) -> Octets {
        let rest = world.broker.strip_prefix("amqp://").expect("plain AMQP");
        let (login, rest) = rest.split_once('@').expect("a login");
        let (address, vhost) = rest.split_once('/').expect("a virtual host");
        let (user, password) = login.split_once(':').expect("a password");
        let stream = TcpStream::connect(address).await.expect("the broker is there");
        let mut octets = Octets { stream, frame_max: 0 };
        octets.stream.write_all(b"AMQP\0\0\x09\x01").await.expect("written");
        octets.answer(10, 10).await;
        let login = format!("\0{user}\0{password}");
        let start = [&*long(""), &short("PLAIN"), &long(login), &short("en_US")].concat();
        octets.ask(0, (10, 11), &start).await;
        let tune = octets.answer(10, 30).await;
        let frame_max: [u8; 4] = tune[2..6].try_into().expect("four bytes");
        octets.frame_max = u32::from_be_bytes(frame_max) as usize;
        octets.ask(0, (10, 31), &[&tune[..6], &[0, 0]].concat()).await;
        let vhost = vhost.replace("%2f", "/");
        octets.ask(0, (10, 40), &[&*short(vhost), &[0, 0]].concat()).await;
        octets.answer(10, 41).await;
        octets.ask(1, (20, 10), &short("")).await;
        octets.answer(20, 11).await;
        octets.ask(1, (85, 10), &[0]).await;
        octets.answer(85, 11).await;
        octets
    }

    /// Publishes with these fields for headers, and these further properties as `(bit, bytes)` in
    /// the order of their bits; waits until the broker has it.
    pub(crate) async fn publish(
        &mut self,
        exchange: &str,
        properties: &[(u16, Vec<u8>)],
        fields: &[u8],
        body: &[u8],
    ) {
        let to = [&[0, 0], &*short(exchange), &short(""), &[0]].concat();
        self.ask(1, (60, 40), &to).await;
        let all: Vec<(u16, Vec<u8>)> = {
            let mut all = properties.to_vec();
            all.push((13, long(fields)));
            all.sort_by_key(|(bit, _)| std::cmp::Reverse(*bit));
            all
        };
        let flags = all.iter().fold(0_u16, |flags, (bit, _)| flags | 1 << bit);
        let mut header = [60_u16.to_be_bytes(), [0, 0]].concat();
        header.extend((body.len() as u64).to_be_bytes());
        header.extend(flags.to_be_bytes());
        header.extend(all.iter().flat_map(|(_, bytes)| bytes));
        assert!(header.len() + 8 <= self.frame_max, "a header of {} bytes", header.len());
        self.frame(HEADER, 1, &header).await;
        for part in body.chunks(self.frame_max - 8) {
            self.frame(BODY, 1, part).await;
        }
        self.answer(60, 80).await;
    }

    async fn ask(&mut self, channel: u16, (class, method): (u16, u16), arguments: &[u8]) {
        let head = [class.to_be_bytes(), method.to_be_bytes()].concat();
        self.frame(METHOD, channel, &[&head, arguments].concat()).await;
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("not that long");
        let channel = channel.to_be_bytes();
        let head = [&[kind][..], &channel, &length.to_be_bytes()].concat();
        let whole = [&head, payload, &[END]].concat();
        self.stream.write_all(&whole).await.expect("written");
    }

    /// The arguments of the method that must come next.
    async fn answer(&mut self, class: u16, method: u16) -> Vec<u8> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head).await.expect("the broker answers");
        let length = u32::from_be_bytes(head[3..7].try_into().expect("four bytes"));
        let mut payload = vec![0; length as usize + 1];
        self.stream.read_exact(&mut payload).await.expect("the broker answers");
        payload.pop();
        let number = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
        let told = String::from_utf8_lossy(&payload);
        assert_eq!((number(0), number(2)), (class, method), "the broker says: {told}");
        payload.split_off(4)
    }
}
