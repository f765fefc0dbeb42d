//! Events of services that are made in a test without a gateway.

use openclaw_platform::sync::{LockExt as _, Mutex};

use super::*;

/// Keeps what is told: name, payload, and to whom if not to all.
#[derive(Default)]
pub struct Recorded(Mutex<Vec<(String, serde_json::Value, Option<String>)>>);

impl Recorded {
    /// What was told since the last look.
    pub fn take(&self) -> Vec<(String, serde_json::Value, Option<String>)> {
        std::mem::take(&mut *self.0.locked())
    }
}

impl Events for Recorded {
    fn ordered(&self) -> Box<dyn Order + '_> {
        Box::new(self)
    }
    fn send(&self, spec: &EventSpec, body: Arc<EventBody>, to: Audience<'_>) {
        self.ordered().send(spec, body, to);
    }
}

impl Order for &Recorded {
    fn send(&self, spec: &EventSpec, body: Arc<EventBody>, to: Audience<'_>) {
        let frame: serde_json::Value = serde_json::from_str(&body.with_seq(None)).unwrap();
        let to = match to {
            Audience::All => None,
            Audience::Session(to) | Audience::Device(to) => Some(to.to_owned()),
        };
        self.0.locked().push((spec.name.to_owned(), frame["payload"].clone(), to));
    }
}
