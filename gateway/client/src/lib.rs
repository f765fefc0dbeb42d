//! The gateway's WebSocket client: connect, typed failures, many calls in flight, events with gap detection, and a
//! [`Session`] that reconnects with back-off.
//!
//! Used by the command line, the simulator, the benches and the tests, so it stands on `openclaw-platform` alone: the
//! same code runs on real and on simulated sockets. Frames are read as loose JSON on purpose, because a client has to
//! tolerate what a newer gateway adds.
//!
//! What may never be here: anything of the server, a printed line, a fallback that works without the gateway.
//! Start reading at [`Client::connect`]; [`Session`] is the layer above it.

mod call;
mod connect;
mod connection;
mod device;
mod endpoint;
mod event;
mod options;
mod reconnect_delay;
mod session;
mod tick_watch;

pub use call::{Call, CallError, Final, GatewayError};
pub use connect::ConnectError;
pub use connection::{Client, Closed};
pub use device::{DeviceKey, DeviceSigner, block as device_block};
pub use event::{ClientEvent, RawEvent};
pub use options::{ConnectOptions, NodeOffer, Vouch};
pub use session::{Session, SessionEvent, Stopped};
