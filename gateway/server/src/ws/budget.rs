//! How much strangers may make the gateway hold: each its own small share, and one pot for all who want more (S12).

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use openclaw_platform::BoxIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::{PREAUTH_OWN_BYTES, PREAUTH_SHARED_BYTES};

/// The pot for all connections that have not said hello.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: AtomicUsize::new(PREAUTH_SHARED_BYTES) }
    }
}

/// What one connection has read before hello-ok; dropping it gives its part of the pot back.
#[derive(Debug)]
pub struct Meter {
    budget: Arc<Budget>,
    read: AtomicUsize,
    taken: AtomicUsize,
    open: AtomicBool,
}

impl Meter {
    /// A connection that begins.
    pub fn new(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            budget: budget.clone(),
            read: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            open: AtomicBool::new(false),
        })
    }

    /// Hello was said: from here on `maxPayload` is the bound.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.give_back();
    }

    fn give_back(&self) {
        self.budget.left.fetch_add(self.taken.swap(0, Ordering::AcqRel), Ordering::AcqRel);
    }

    /// Counts bytes that were read. False when neither the own share nor the pot has room.
    pub fn count(&self, bytes: usize) -> bool {
        if self.open.load(Ordering::Acquire) {
            return true;
        }
        let before = self.read.fetch_add(bytes, Ordering::AcqRel);
        let over = |read: usize| read.saturating_sub(PREAUTH_OWN_BYTES);
        let more = over(before + bytes) - over(before);
        let take = |left: usize| left.checked_sub(more);
        let fits = self.budget.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok();
        if fits {
            self.taken.fetch_add(more, Ordering::AcqRel);
        }
        fits
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A stream whose reading is metered.
pub struct Metered {
    io: BoxIo,
    meter: Arc<Meter>,
}

impl Metered {
    /// Counts what is read from `io`.
    pub fn new(io: BoxIo, meter: Arc<Meter>) -> Self {
        Self { io, meter }
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if matches!(polled, Poll::Ready(Ok(()))) && !self.meter.count(buf.filled().len() - before) {
            return Poll::Ready(Err(io::Error::other("too many bytes before hello")));
        }
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_the_pot_is_shared_and_the_own_share_is_not() {
        let budget = Arc::new(Budget::default());
        let hogs: Vec<_> = (0..1000).map(|_| Meter::new(&budget)).take_while(|m| m.count(512 << 10)).collect();
        let expected = PREAUTH_SHARED_BYTES / ((512 << 10) - PREAUTH_OWN_BYTES);
        assert_eq!(hogs.len(), expected, "what strangers can make the gateway hold");
        let honest = Meter::new(&budget);
        assert!(honest.count(PREAUTH_OWN_BYTES), "a usual connect still fits");
        drop(hogs);
        assert!(honest.count(512 << 10), "what the others held is free again");
        honest.open();
        assert_eq!(budget.left.load(Ordering::Acquire), PREAUTH_SHARED_BYTES);
        assert!(honest.count(PREAUTH_SHARED_BYTES * 2), "after hello other bounds hold");
    }
}
