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
mod calls;
mod closed;
mod connect;
mod connection;
mod device;
mod endpoint;
mod event;
mod gateway_error;
mod options;
mod reconnect_delay;
mod session;
mod shared;
mod tick_watch;

pub use call::{Call, CallError, Final};
pub use closed::Closed;
pub use connect::ConnectError;
pub use connection::Client;
pub use device::{DeviceKey, DeviceSigner, block as device_block};
pub use event::{ClientEvent, RawEvent};
pub use gateway_error::GatewayError;
pub use options::{ConnectOptions, NodeOffer, Pin, Vouch};
pub use session::{Session, SessionEvent, Stopped};
