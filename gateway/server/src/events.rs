//! What the domain tells, and to whom: a trait, so that no service knows who listens. The hub of connections implements it;
//! a test records.

use openclaw_platform::sync::Arc;
use openclaw_protocol::{
    event::EventSpec,
    frame::{EventBody, StateVersion},
};
use serde::Serialize;

/// To whom an event goes, among those who may see events of its kind (D7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience<'a> {
    /// Everybody.
    All,
    /// Everybody, and the nodes that follow the session with this canonical key.
    Session(&'a str),
    /// Those who may manage this device (S06).
    Device(&'a str),
}

/// Who takes events.
pub trait Events: Send + Sync {
    /// Takes the order of the world: a state change and its event happen while it is held, so that the two fit together (F02).
    /// Nothing may be awaited meanwhile.
    fn ordered(&self) -> Box<dyn Order + '_>;

    /// Sends an encoded event that changes no state of a snapshot.
    fn send(&self, spec: &EventSpec, body: Arc<EventBody>, to: Audience<'_>);
}

/// The order of the world, while it is held.
pub trait Order {
    /// Sends an encoded event.
    fn send(&self, spec: &EventSpec, body: Arc<EventBody>, to: Audience<'_>);
}

impl dyn Order + '_ {
    /// Encodes an event once and sends it; `version` is that of the state that it changes.
    pub fn publish(&self, spec: &EventSpec, payload: &impl Serialize, version: Option<StateVersion>, to: Audience<'_>) {
        if let Some(body) = encoded(spec, payload, version) {
            self.send(spec, body, to);
        }
    }
}

/// Once for all who hear it; none when the payload cannot be encoded.
fn encoded(spec: &EventSpec, payload: &impl Serialize, version: Option<StateVersion>) -> Option<Arc<EventBody>> {
    let body = EventBody::new(spec.name, payload, version);
    body.inspect_err(|error| tracing::error!(event = spec.name, %error, "event cannot be encoded")).ok().map(Arc::new)
}

impl dyn Events + '_ {
    /// Encoded before anything is locked.
    fn tell(&self, spec: &EventSpec, payload: &impl Serialize, to: Audience<'_>) {
        if let Some(body) = encoded(spec, payload, None) {
            self.send(spec, body, to);
        }
    }

    /// Sends an event that changes no state of a snapshot.
    pub fn publish(&self, spec: &EventSpec, payload: &impl Serialize) {
        self.tell(spec, payload, Audience::All);
    }

    /// Sends an event of the session with this canonical key.
    pub fn publish_of(&self, session: &str, spec: &EventSpec, payload: &impl Serialize) {
        self.tell(spec, payload, Audience::Session(session));
    }

    /// Tells of a device those who may manage it.
    pub fn publish_about_device(&self, spec: &EventSpec, payload: &impl Serialize, device_id: &str) {
        self.tell(spec, payload, Audience::Device(device_id));
    }
}

#[cfg(test)]
pub mod tests;
