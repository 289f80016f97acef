//! A broker that confirms as a script says: just enough of AMQP for one who only publishes.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xCE;

/// An answer to one or, with `multiple`, to all messages up to a tag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) takes: bool,
    pub(crate) tag: u64,
    pub(crate) multiple: bool,
}

pub(crate) fn ack(tag: u64) -> Answer {
    Answer { takes: true, tag, multiple: false }
}

pub(crate) fn nack(tag: u64) -> Answer {
    Answer { takes: false, tag, multiple: false }
}

impl Answer {
    pub(crate) fn and_before(self) -> Answer {
        Answer { multiple: true, ..self }
    }
}

/// What is answered once the message with this tag has come.
type Script = Arc<dyn Fn(u64) -> Vec<Answer> + Send + Sync>;

/// Listens until its test ends; the URL to reach it.
pub(crate) async fn broker(script: impl Fn(u64) -> Vec<Answer> + Send + Sync + 'static) -> String {
    let script: Script = Arc::new(script);
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(anywhere).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, script.clone()));
        }
    });
    format!("amqp://guest:guest@127.0.0.1:{port}/%2f")
}

async fn write(stream: &mut TcpStream, channel: u16, method: (u16, u16), arguments: &[u8]) -> bool {
    let mut frame = vec![METHOD];
    frame.extend(channel.to_be_bytes());
    frame.extend((arguments.len() as u32 + 4).to_be_bytes());
    frame.extend(method.0.to_be_bytes());
    frame.extend(method.1.to_be_bytes());
    frame.extend(arguments);
    frame.push(END);
    stream.write_all(&frame).await.is_ok()
}

/// The next frame: kind, channel, payload.
async fn read(stream: &mut TcpStream) -> Option<(u8, u16, Vec<u8>)> {
    let (kind, channel) = (stream.read_u8().await.ok()?, stream.read_u16().await.ok()?);
    let mut payload = vec![0; stream.read_u32().await.ok()? as usize];
    stream.read_exact(&mut payload).await.ok()?;
    assert_eq!(stream.read_u8().await.ok()?, END, "a frame's end");
    Some((kind, channel, payload))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The answer to a method that wants one.
fn reply(method: (u16, u16)) -> Option<((u16, u16), Vec<u8>)> {
    Some(match method {
        // Start is answered with Tune: 2047 channels, frames of 128 KiB, no heartbeat.
        (10, 11) => ((10, 30), vec![0x07, 0xFF, 0, 2, 0, 0, 0, 0]),
        (10, 40) => ((10, 41), vec![0]),
        (20, 10) => ((20, 11), vec![0; 4]),
        (50, 10) => ((50, 11), [&[1, b'q'][..], &[0; 8]].concat()),
        // A publish wants none; of the others each is answered by the number after its own.
        (60, _) => return None,
        (class, call @ (10 | 20 | 30 | 40 | 50)) => ((class, call + 1), Vec::new()),
        _ => return None,
    })
}

async fn serve(mut stream: TcpStream, script: Script) -> Option<()> {
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting).await.ok()?;
    let start = [&[0, 9, 0, 0, 0, 0][..], &[0, 0, 0, 5], b"PLAIN", &[0, 0, 0, 5], b"en_US"];
    write(&mut stream, 0, (10, 10), &start.concat()).await.then_some(())?;
    let (mut tag, mut left) = (0, 0);
    loop {
        let (kind, channel, payload) = read(&mut stream).await?;
        match kind {
            METHOD => {
                let method = (number(&payload[..2]) as u16, number(&payload[2..4]) as u16);
                if let Some((method, arguments)) = reply(method) {
                    write(&mut stream, channel, method, &arguments).await.then_some(())?;
                }
                continue;
            }
            HEADER => left = number(&payload[4..12]),
            BODY => left -= payload.len() as u64,
            _ => continue,
        }
        if left > 0 {
            continue;
        }
        tag += 1;
        for answer in script(tag) {
            let method = (60, if answer.takes { 80 } else { 120 });
            let mut arguments = answer.tag.to_be_bytes().to_vec();
            arguments.push(u8::from(answer.multiple));
            write(&mut stream, channel, method, &arguments).await.then_some(())?;
        }
    }
}
