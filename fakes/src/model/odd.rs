//! Streams as some servers and proxies send them: right in what they say, odd in how. Lines end otherwise, comments come in
//! between, what closes a block or the whole is left out, pieces are cut anywhere.

use bytes::Bytes;

/// Longer replies are not cut into small pieces.
const SMALL: usize = 16 << 10;

/// How one stream differs from the plain one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Odd(u64);

impl Odd {
    /// That of the request `index`, drawn from `seed`.
    pub fn of(seed: u64, index: u64) -> Self {
        // Splitmix64: neighbours have nothing in common.
        let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(z ^ (z >> 31))
    }

    fn is(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }

    /// The events in their odd form, one piece each still.
    pub fn events(self, pieces: Vec<Bytes>) -> Vec<Bytes> {
        let kept = pieces.into_iter().filter(|piece| {
            let has = |mark: &[u8]| piece.windows(mark.len()).any(|w| w == mark);
            let closes_block = has(b"event: content_block_stop\n");
            let closes_all = has(b"event: message_stop\n") || has(b"data: [DONE]\n");
            !(closes_block && self.is(0) || closes_all && self.is(1))
        });
        kept.map(|piece| self.framed(&piece)).collect()
    }

    /// JSON in one line has no line ends of its own.
    fn framed(self, piece: &Bytes) -> Bytes {
        let mut text = String::from_utf8_lossy(piece).into_owned();
        if self.is(2) {
            text = text.replace("\ndata: ", "\ndata:");
        }
        if self.is(3) {
            text.insert_str(0, ": still here\n\n");
        }
        if self.is(4) {
            text = text.replace('\n', "\r\n");
        }
        text.into()
    }

    /// The same bytes in other pieces: all at once, or a few bytes each.
    pub fn cut(self, pieces: Vec<Bytes>) -> Vec<Bytes> {
        let all: Vec<u8> = pieces.concat();
        match self.0 >> 8 & 3 {
            0 => vec![all.into()],
            1 if all.len() <= SMALL => {
                let length = 1 + (self.0 >> 10 & 31) as usize;
                all.chunks(length).map(Bytes::copy_from_slice).collect()
            }
            _ => pieces,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_stays() {
        let pieces: Vec<Bytes> = (0..5).map(|n| Bytes::from(format!("event: x\ndata: {{\"n\":{n}}}\n\n"))).collect();
        let mut forms = std::collections::BTreeSet::new();
        for index in 0..200 {
            let odd = Odd::of(7, index);
            let shaped = odd.cut(odd.events(pieces.clone())).concat();
            let text = String::from_utf8(shaped).unwrap().replace("\r\n", "\n").replace(": still here\n\n", "");
            assert_eq!(text.replace("data:{", "data: {"), String::from_utf8(pieces.concat()).unwrap());
            forms.insert(odd.events(pieces.clone()).concat());
        }
        assert_eq!(forms.len(), 8);
    }
}
