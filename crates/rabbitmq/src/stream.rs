//! The client's way to the broker, with a wash in between.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::Stream;
use futures_util::io::{AsyncRead, AsyncWrite};
use lapin::tcp::{AMQPUriTcpExt as _, AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind};

use crate::wash::Wash;

/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// Connects over a stream whose frames are washed.
pub(crate) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    tls: OwnedTLSConfig,
) -> lapin::Result<Connection> {
    let tokio = Tokio::current();
    let runtime = Runtime::new(RuntimeParts::new(tokio.clone(), Washing(tokio.clone())));
    let connector = async move |uri: AMQPUri, _: Runtime<_>| {
        let plain = Runtime::new(tokio.clone());
        let stream = uri.connect_with_config_async(tls.as_ref(), &plain).await;
        let stream = stream.map_err(|error| ErrorKind::IOError(Arc::new(error)))?;
        Ok(AsyncTcpStream::Plain(Washed::new(stream)))
    };
    Connection::connector(uri, runtime, connector, properties).await
}

/// What the client reads from and writes to, encrypted or not.
type Below = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// A stream of which what is read is washed.
pub(crate) struct Washed {
    below: Below,
    wash: Wash,
    piece: Box<[u8]>,
    /// What has come and was not handed on: washed up to `clean`, handed on up to `at`.
    bytes: Vec<u8>,
    clean: usize,
    at: usize,
}

impl Washed {
    fn new(below: Below) -> Washed {
        let piece = vec![0; PIECE].into_boxed_slice();
        Washed { below, wash: Wash::default(), piece, bytes: Vec::new(), clean: 0, at: 0 }
    }
}

impl AsyncRead for Washed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            let ready = this.clean - this.at;
            if ready > 0 || into.is_empty() {
                let many = ready.min(into.len());
                into[..many].copy_from_slice(&this.bytes[this.at..this.at + many]);
                this.at += many;
                return Poll::Ready(Ok(many));
            }
            // Only the beginning of a frame is left.
            this.bytes.drain(..this.at);
            (this.at, this.clean) = (0, 0);
            let many = ready!(Pin::new(&mut this.below).poll_read(cx, &mut this.piece))?;
            if many == 0 {
                return Poll::Ready(Ok(0));
            }
            this.bytes.extend_from_slice(&this.piece[..many]);
            this.clean = this.wash.advance(&mut this.bytes, 0);
        }
    }
}

impl AsyncWrite for Washed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.below).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.below).poll_write_vectored(cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.below).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.below).poll_close(cx)
    }
}

/// Tokio's reactor, whose streams are washed.
#[derive(Clone, Debug)]
struct Washing(Tokio);

impl Reactor for Washing {
    type TcpStream = Washed;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// The client makes its connections by address and brings no socket of its own.
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Washed, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(Washed::new(AsyncTcpStream::Plain(connecting.await?))) }
    }
}
