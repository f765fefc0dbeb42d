//! One end of a connection.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use openclaw_platform::{BoxIo, EntropyExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::{
    LinkControl,
    connection::{Connection, Direction, Ending, Segment, Silence, State},
    control::Settings,
    relay,
};

/// Under a rate, a write is split into what passes in this time, so that it trickles.
const RATE_STEPS_PER_SECOND: u64 = 20;
/// ... but not into less.
const RATE_LEAST: u64 = 64;

/// A byte stream that suffers whatever its [`LinkControl`] says.
pub struct FaultStream {
    connection: Arc<Connection>,
    /// The direction that this end writes.
    writes: Direction,
    reading: Alarm,
    writing: Alarm,
}

impl std::fmt::Debug for FaultStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultStream").field("writes", &self.writes).finish_non_exhaustive()
    }
}

/// Wakes a poll at a moment.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Always pending; the task is woken after `wait`.
    fn set<T>(&mut self, cx: &mut Context<'_>, wait: Duration) -> Poll<T> {
        let mut sleep = Box::pin(tokio::time::sleep(wait));
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.0 = Some(sleep);
        Poll::Pending
    }
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset")))
}

impl FaultStream {
    /// Puts the faults of `control` between the caller and `io`, by a task that copies between them; the caller is the
    /// end that connected. Must be called within a tokio runtime.
    pub fn new(io: BoxIo, control: Arc<LinkControl>) -> Self {
        let (near, far) = Self::pair(control);
        relay::start(io, far, drop);
        near
    }

    /// Two ends in one process: the one that connected and the one that accepted.
    pub fn pair(control: Arc<LinkControl>) -> (Self, Self) {
        Self::between(control, Default::default())
    }

    pub(super) fn between(control: Arc<LinkControl>, machines: [String; 2]) -> (Self, Self) {
        let connection = Connection::new(control, machines);
        let end = |writes| Self {
            connection: connection.clone(),
            writes,
            reading: Alarm::default(),
            writing: Alarm::default(),
        };
        (end(Direction::Up), end(Direction::Down))
    }

    /// Gives the stream up with a reset instead of an orderly end.
    pub(super) fn abort(self) {
        self.leave(true);
    }

    fn leave(&self, abort: bool) {
        let link = &self.connection.link;
        let at = link.time.latest() + link.least_latency(&link.settings());
        let mut state = self.connection.lock();
        let (mine, other) = (self.writes as usize, self.writes.other() as usize);
        state.ends[mine].gone = true;
        // As in TCP: closing with data unread resets.
        let unread = state.pipes[other].unread > 0;
        let ending = if abort || unread { Ending::Rst } else { Ending::Fin };
        if state.frozen == Some(self.writes) {
            state.left = Some(ending);
        } else if state.silence == Silence::No {
            state.pipes[mine].end(ending, at);
        }
        state.pipes[other].segments.clear();
        state.pipes[other].unread = 0;
        state.ends[other].wake();
    }

    /// Takes what has arrived in the direction that this end reads.
    fn take(&self, state: &mut State, settings: &Settings, now: Duration, buf: &mut ReadBuf<'_>) -> bool {
        let pipe = &mut state.pipes[self.writes.other() as usize];
        let mut taken = 0;
        while buf.remaining() > 0
            && let Some(segment) = pipe.segments.front_mut()
            && segment.at <= now
        {
            let n = segment.bytes.len().min(buf.remaining());
            buf.put_slice(&segment.bytes[..n]);
            segment.bytes.advance(n);
            taken += n;
            if segment.bytes.is_empty() {
                pipe.segments.pop_front();
            }
            if settings.chunk.is_some() {
                break;
            }
        }
        pipe.unread = pipe.unread.saturating_sub(taken);
        if taken > 0
            && let Some(writer) = state.ends[self.writes.other() as usize].writer.take()
        {
            writer.wake();
        }
        taken > 0
    }

    /// Puts `bytes` on the wire, as one segment or as many as the rate asks for.
    fn put(&self, state: &mut State, settings: &Settings, now: Duration, bytes: &[u8]) {
        let link = &self.connection.link;
        let pipe = &mut state.pipes[self.writes as usize];
        let piece = settings.rate.map_or(bytes.len(), |rate| (rate / RATE_STEPS_PER_SECOND).max(RATE_LEAST) as usize);
        for piece in bytes.chunks(piece.max(1)) {
            let sent = match settings.rate {
                Some(rate) => {
                    let takes = Duration::from_nanos(piece.len() as u64 * 1_000_000_000 / rate);
                    pipe.wire_free = pipe.wire_free.max(now) + takes;
                    pipe.wire_free
                }
                None => now,
            };
            let at = (sent + link.draw_latency(settings, &*self.connection.entropy)).max(pipe.last_at);
            pipe.last_at = at;
            pipe.unread += piece.len();
            pipe.segments.push_back(Segment { at, bytes: Bytes::copy_from_slice(piece) });
        }
        if let Some(reader) = state.ends[self.writes.other() as usize].reader.take() {
            reader.wake();
        }
    }
}

impl AsyncRead for FaultStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let connection = this.connection.clone();
        let settings = connection.link.settings();
        let now = connection.link.time.now();
        let reads = this.writes.other();
        let mut state = connection.lock();
        if state.frozen == Some(this.writes) {
            return Poll::Pending;
        }
        if state.reset {
            return reset();
        }
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut next = None;
        if !settings.stalled[reads as usize] {
            if this.take(&mut state, &settings, now, buf) {
                return Poll::Ready(Ok(()));
            }
            let pipe = &state.pipes[reads as usize];
            match pipe.ending {
                Some((Ending::Fin, at)) if at <= now && pipe.segments.is_empty() => return Poll::Ready(Ok(())),
                Some((Ending::Rst, at)) if at <= now => return reset(),
                _ => {}
            }
            next = pipe.segments.front().map(|segment| segment.at).or(pipe.ending.map(|(_, at)| at));
        }
        state.ends[this.writes as usize].reader = Some(cx.waker().clone());
        match next {
            Some(at) => this.reading.set(cx, at.saturating_sub(now)),
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for FaultStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let connection = this.connection.clone();
        let link = &connection.link;
        let settings = link.settings();
        let now = link.time.now();
        let (mine, reads) = (this.writes as usize, this.writes.other());
        let mut state = connection.lock();
        if state.frozen == Some(this.writes) {
            return Poll::Ready(Ok(buf.len()));
        }
        if state.reset {
            return reset();
        }
        let arriving = match state.pipes[reads as usize].ending {
            Some((Ending::Rst, at)) if !settings.stalled[reads as usize] => match at.checked_sub(now) {
                None | Some(Duration::ZERO) => return reset(),
                left => left,
            },
            _ => None,
        };
        if state.pipes[mine].shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let known = state.silence == Silence::No;
        if state.silence == Silence::Forgotten || known && (state.cut || state.ends[reads as usize].gone) {
            // Nobody is there: the kernel takes the bytes, and learns of it a round trip later.
            let at = now + 2 * link.draw_latency(&settings, &*connection.entropy);
            state.pipes[reads as usize].end(Ending::Rst, at);
            if let Some(reader) = state.ends[mine].reader.take() {
                reader.wake();
            }
            return Poll::Ready(Ok(buf.len()));
        }
        let room = settings.window.saturating_sub(state.pipes[mine].unread);
        if room == 0 {
            state.ends[mine].writer = Some(cx.waker().clone());
            return match arriving {
                Some(left) => this.writing.set(cx, left),
                None => Poll::Pending,
            };
        }
        let mut n = room.min(buf.len());
        if known {
            if let Some(most) = settings.chunk {
                n = n.min(1 + connection.entropy.below(u32::try_from(most).unwrap_or(u32::MAX)) as usize);
            }
            this.put(&mut state, &settings, now, &buf[..n]);
        } else {
            state.pipes[mine].unread += n;
        }
        Poll::Ready(Ok(n))
    }

    /// As a kernel's: what was written is on its way.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let link = &self.connection.link;
        let at = link.time.now() + link.draw_latency(&link.settings(), &*self.connection.entropy);
        let mut state = self.connection.lock();
        let known = state.silence == Silence::No;
        let frozen = state.frozen == Some(self.writes);
        let pipe = &mut state.pipes[self.writes as usize];
        if !pipe.shut && !frozen {
            pipe.shut = true;
            if known {
                pipe.end(Ending::Fin, at);
            }
            if let Some(reader) = state.ends[self.writes.other() as usize].reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for FaultStream {
    fn drop(&mut self) {
        self.leave(false);
    }
}
