//! Where the frames of a connection end. What has been read up to the end of a frame, and of a message, leaves nothing in the
//! buffer of the library that reads it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Follows frame and message boundaries in a byte stream, however the bytes are cut (RFC 6455 section 5.2).
#[derive(Debug, Default)]
pub struct Place {
    /// The first bytes of the frame's header: flags, length in up to eight more bytes. Its mask is counted as payload.
    head: [u8; 10],
    /// So many of them are known.
    known: usize,
    /// Bytes of the frame that follow the header.
    left: u64,
    /// The last data frame was not the last of its message.
    is_within: bool,
    /// The longest payload since the last [`Place::forget`].
    largest: u64,
}

impl Place {
    /// Goes on over these bytes.
    pub fn pass(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            if self.left == 0 {
                self.head[self.known] = bytes[at];
                self.known += 1;
                at += 1;
                if !self.has_head() {
                    continue;
                }
            }
            let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
            self.left -= n as u64;
            at += n;
            if self.left == 0 {
                self.known = 0;
            }
        }
    }

    /// Reads the header once it is whole.
    fn has_head(&mut self) -> bool {
        let extended = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.known < 2 + extended {
            return false;
        }
        let length = match extended {
            0 => u64::from(self.head[1] & 0x7f),
            n => self.head[2..2 + n].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        self.left = length.saturating_add(mask);
        self.largest = self.largest.max(length);
        // Control frames may come between the parts of a message.
        if self.head[0] & 0x08 == 0 {
            self.is_within = self.head[0] & 0x80 == 0;
        }
        true
    }

    /// Neither within a frame nor within a message.
    pub fn is_between_messages(&self) -> bool {
        self.known == 0 && !self.is_within
    }

    /// The longest payload since the last time this was forgotten.
    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// See [`Place::largest`].
    pub fn forget(&mut self) {
        self.largest = 0;
    }
}

/// A stream of frames that knows how far it was read.
pub struct Framed<T> {
    io: T,
    place: Place,
}

impl<T> Framed<T> {
    /// Reads frames from `io`, of which these bytes were read already.
    pub fn new(io: T, read: &[u8]) -> Self {
        let mut place = Place::default();
        place.pass(read);
        Self { io, place }
    }

    /// Where the reader is.
    pub fn place(&mut self) -> &mut Place {
        &mut self.place
    }

    /// The stream below.
    pub fn into_inner(self) -> T {
        self.io
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Framed<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, place } = self.get_mut();
        let before = out.filled().len();
        ready!(Pin::new(io).poll_read(cx, out))?;
        place.pass(&out.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Framed<T> {
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
    use proptest::prelude::*;

    use super::*;

    /// A frame with this first byte, whose payload looks like headers.
    fn frame(first: u8, masked: bool, payload: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut out = vec![first];
        match payload {
            0..126 => out.push(mask | payload as u8),
            126..0x1_0000 => {
                out.push(mask | 0x7e);
                out.extend((payload as u16).to_be_bytes());
            }
            _ => {
                out.push(mask | 0x7f);
                out.extend((payload as u64).to_be_bytes());
            }
        }
        out.extend(vec![0x81; payload + if masked { 4 } else { 0 }]);
        out
    }

    proptest! {
        /// However frames are cut on their way: it is between messages where a frame ends that is the last of its message, or
        /// a control frame outside of one, and nowhere else.
        #[test]
        fn f58_the_place_does_not_depend_on_the_cuts(
            frames in proptest::collection::vec(
                (any::<u8>(), any::<bool>(), prop_oneof![0..300usize, 60_000..70_000usize]), 1..8),
            cuts in proptest::collection::vec(1..20_000usize, 1..40),
        ) {
            let (mut ends, mut all, mut is_within) = (vec![0], Vec::new(), false);
            for (first, masked, n) in &frames {
                all.extend(frame(*first, *masked, *n));
                if first & 0x08 == 0 {
                    is_within = first & 0x80 == 0;
                }
                if !is_within {
                    ends.push(all.len());
                }
            }
            let (mut place, mut at) = (Place::default(), 0);
            for cut in cuts.iter().cycle() {
                let next = (at + cut).min(all.len());
                place.pass(&all[at..next]);
                at = next;
                prop_assert_eq!(place.is_between_messages(), ends.contains(&at), "at {} of {:?}", at, &ends);
                if at == all.len() {
                    break;
                }
            }
            prop_assert_eq!(place.largest(), frames.iter().map(|(.., n)| *n as u64).max().unwrap_or(0));
        }

        #[test]
        fn f58_garbage_is_passed_over(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            Place::default().pass(&bytes);
        }
    }

    #[test]
    fn f58_the_longest_length_and_the_parts_of_a_message() {
        let mut place = Place::default();
        let mut header = vec![0x01, 0xff];
        header.extend([0xff; 8]);
        place.pass(&header);
        place.pass(&[7; 1000]);
        assert_eq!((place.largest(), place.is_between_messages()), (u64::MAX, false));

        let mut place = Place::default();
        // A part, a ping between, the end.
        for (frame, between) in
            [(frame(0x01, true, 5), false), (frame(0x89, true, 0), false), (frame(0x80, true, 9), true)]
        {
            place.pass(&frame);
            assert_eq!(place.is_between_messages(), between);
        }
        assert_eq!(place.largest(), 9);
        place.forget();
        let whole = frame(0x82, false, 3);
        place.pass(&whole[..1]);
        assert!(!place.is_between_messages());
        place.pass(&whole[1..]);
        assert_eq!((place.is_between_messages(), place.largest()), (true, 3));
    }
}
