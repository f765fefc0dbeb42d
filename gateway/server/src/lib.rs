//! The gateway itself: connections, dispatch, methods, events, presence, sessions, runs, channels, HTTP.
//!
//! It reaches the world through the platform's seams only, so that it also runs in the simulator. What may never be here:
//! reading the environment, argument parsing, anything that a test could not inject.
//!
//! Start reading at [`serve::run`], then [`gateway::Gateway`], which puts all services together; a request's way is
//! `ws/connection.rs`, `dispatch.rs`, `methods/`.

pub mod approvals;
pub mod auth;
pub mod browser;
pub mod bulk_reads;
pub mod certificates;
pub mod channels;
pub mod configuration;
pub mod delivery;
pub mod devices;
pub mod dispatch;
pub mod events;
pub mod exec_gate;
pub mod failure;
pub mod gateway;
pub mod health;
pub mod heartbeat;
pub mod http;
pub mod hub;
pub mod idempotency;
pub mod import;
pub mod inbound;
pub mod lifecycle;
pub mod limits;
mod lingering;
pub mod log_tail;
mod methods;
pub mod nodes;
pub mod options;
pub mod outbox;
pub mod presence;
pub mod problems;
pub mod providers;
pub mod publication;
pub mod reach;
pub mod reload;
pub mod request_path;
pub mod restart_note;
pub mod restarts;
pub mod rights;
pub mod runs;
pub mod sandbox;
pub mod schema;
pub mod secrets;
pub mod serve;
pub mod sessions;
pub mod settings;
pub mod store;
pub mod system_events;
pub mod tools;
pub mod voicewake;
mod waiting;
mod wire_error;
pub mod ws;

pub use options::{
    AuthInForce, CertificateSource, ConfigSource, HostInfo, PortTls, ReadAuth, ServerOptions, SharedAuth, Unusable,
    Watched,
};
pub use serve::{Control, Listening, Restarted, ServeError, Stopped, run, run_on};
