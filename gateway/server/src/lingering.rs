//! An HTTP connection that closes without a reset: what the peer still sends is read and dropped for a while, so that a
//! refusal of a large head or body arrives (S12).

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use openclaw_platform::BoxIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use crate::limits::{LINGER, LINGER_BYTES};

/// A stream whose shutdown half-closes, and then reads to the peer's end, for [`LINGER`] and [`LINGER_BYTES`] at most.
pub struct Lingering {
    io: BoxIo,
    /// Set once it is half-closed.
    end: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Lingering {
    /// A stream that is open.
    pub fn new(io: BoxIo) -> Self {
        Self { io, end: None }
    }

    /// The stream itself.
    pub fn into_inner(self) -> BoxIo {
        self.io
    }
}

impl AsyncRead for Lingering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let (until, left) = match &mut this.end {
            Some(end) => end,
            none => {
                ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
                none.insert((Box::pin(tokio::time::sleep(LINGER)), LINGER_BYTES))
            }
        };
        let mut bytes = [0; 4 << 10];
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            let is_over = match Pin::new(&mut this.io).poll_read(cx, &mut buf) {
                Poll::Pending => {
                    ready!(until.as_mut().poll(cx));
                    true
                }
                Poll::Ready(read) => read.is_err() || buf.filled().is_empty() || buf.filled().len() >= *left,
            };
            if is_over {
                return Poll::Ready(Ok(()));
            }
            *left -= buf.filled().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    #[allow(clippy::disallowed_methods)] // how long it took is what is tested
    async fn s12_what_still_comes_is_read_for_a_while() {
        let (mut peer, io) = tokio::io::duplex(1 << 10);
        let mut io = Lingering::new(Box::new(io));
        let sender = async {
            peer.write_all(&vec![b'a'; 100_000]).await.unwrap();
            assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0, "the end is told at once");
            drop(peer);
        };
        let both = async { tokio::join!(io.shutdown(), sender).0 };
        tokio::time::timeout(LINGER * 2, both).await.expect("all of it is read").unwrap();

        let (_silent, io) = tokio::io::duplex(1 << 10);
        let start = tokio::time::Instant::now();
        Lingering::new(Box::new(io)).shutdown().await.unwrap();
        assert_eq!(start.elapsed(), LINGER, "a peer that stays is not waited for any longer");

        let (mut endless, io) = tokio::io::duplex(1 << 16);
        let mut io = Lingering::new(Box::new(io));
        let sender = async { while endless.write_all(&[b'a'; 1 << 14]).await.is_ok() {} };
        let closing = async {
            io.shutdown().await.unwrap();
            drop(io);
        };
        tokio::join!(closing, sender);
    }
}
