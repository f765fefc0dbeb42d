//! What the generator asks. The id of a request is one letter at a fixed place: the gateway echoes it, the floor finds
//! its prepared answer by it.

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::wire::client_text;

/// Where the letter stands in `{"type":"req","id":"h",...`.
pub const ID_AT: usize = 20;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Request {
    /// The handshake; not for `--method`.
    #[value(skip)]
    Connect,
    /// `health`
    Health,
    /// `system-presence`
    SystemPresence,
    /// `last-heartbeat`: the smallest answer
    LastHeartbeat,
    /// `status`
    Status,
    /// A note that becomes a presence event.
    #[value(skip)]
    Event,
}

impl Request {
    /// Every request but `connect`.
    pub const ALL: [Self; 5] = [Self::Health, Self::SystemPresence, Self::LastHeartbeat, Self::Status, Self::Event];

    /// Its id.
    pub fn letter(self) -> char {
        match self {
            Self::Connect => 'c',
            Self::Health => 'h',
            Self::SystemPresence => 'p',
            Self::LastHeartbeat => 'l',
            Self::Status => 's',
            Self::Event => 'e',
        }
    }

    /// The request with this id.
    pub fn of_letter(letter: u8) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::Connect]).find(|r| r.letter() as u8 == letter)
    }

    /// Its method.
    pub fn method(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Health => "health",
            Self::SystemPresence => "system-presence",
            Self::LastHeartbeat => "last-heartbeat",
            Self::Status => "status",
            Self::Event => "system-event",
        }
    }

    /// Its frame. A note is small.
    pub fn frame(self) -> Vec<u8> {
        match self {
            Self::Event => note(&json!({ "text": "load" })),
            _ => client_text(self.text("").as_bytes()),
        }
    }

    /// Its frame with a message of `bytes` bytes: blanks before the closing brace.
    pub fn padded(self, bytes: usize) -> Vec<u8> {
        let text = self.text("");
        let blanks = " ".repeat(bytes.saturating_sub(text.len()));
        client_text(self.text(&blanks).as_bytes())
    }

    fn text(self, params: &str) -> String {
        format!(r#"{{"type":"req","id":"{}","method":"{}"{params}}}"#, self.letter(), self.method())
    }

    /// How a successful answer begins.
    pub fn ok(self) -> Vec<u8> {
        format!(r#"{{"type":"res","id":"{}","ok":true"#, self.letter()).into_bytes()
    }
}

/// A `system-event` with these parameters.
pub fn note(params: &Value) -> Vec<u8> {
    client_text(Request::Event.text(&format!(r#","params":{params}"#)).as_bytes())
}

/// How a presence event begins.
pub const PRESENCE: &[u8] = br#"{"type":"event","event":"presence""#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::find;

    #[test]
    fn the_letter_stands_where_the_floor_looks() {
        for request in Request::ALL {
            let frame = request.frame();
            let payload = &frame[find(&frame, 0).unwrap().payload];
            assert_eq!(Request::of_letter(payload[ID_AT]), Some(request));
            serde_json::from_slice::<Value>(payload).unwrap();
        }
    }

    #[test]
    fn padded_requests_have_their_length() {
        let frame = Request::Health.padded(70_000);
        let payload = &frame[find(&frame, 0).unwrap().payload];
        assert_eq!(payload.len(), 70_000);
        serde_json::from_slice::<Value>(payload).unwrap();
    }
}
