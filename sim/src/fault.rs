//! Faults of the network, the same for simulated and real streams.
//!
//! A connection is two bounded queues of bytes with arrival times, held in this process ([`FaultStream`], both ends). The
//! writer puts bytes in, the reader takes them out when they have arrived, and everything that can go wrong on the way is
//! a setting of the connection's [`LinkControl`]. No task is needed in between, so a stream may be dropped at once after a
//! write and its bytes still arrive, as with a kernel.
//!
//! - In the simulator the connections of [`SimNet`] are made of nothing else: turmoil gives hosts, time and crashes, its
//!   TCP is not used. Its window counts writes instead of bytes, a FIN behind a full window is lost, a reset does not wake
//!   a blocked writer, a refused connect leaks a port and a long backlog panics (reference: simulation, 2).
//! - Over real sockets ([`FaultTransport`], or [`FaultStream::new`] around any stream) a relay task stands between the
//!   far end and the socket: that is the fault proxy of `sim live`.
//!
//! Start reading at [`LinkControl`].

mod connection;
mod control;
mod links;
mod net;
mod relay;
mod stream;
mod timeline;
mod transport;

pub use connection::Direction;
pub use control::{DEFAULT_WINDOW, LinkControl};
pub use links::Links;
pub use net::{HostTransport, SimNet};
pub use stream::FaultStream;
pub use transport::{FaultTransport, LoopbackNet};
