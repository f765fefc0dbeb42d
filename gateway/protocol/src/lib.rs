//! The OpenClaw gateway protocol, version 3: frames, parameters, results, events, errors, scopes, JSON Schema.
//!
//! The types are the source of truth; the schema and the documentation come out of them. What may never be here: I/O,
//! a clock, tokio, anything that knows the gateway.
//!
//! Start reading at [`frame`] and [`method`].

pub mod approvals;
pub mod connect;
pub mod device;
pub mod display;
mod document;
pub mod error;
pub mod event;
pub mod frame;
pub mod message;
pub mod method;
pub mod nodes;
pub mod params;
pub mod schema;
pub mod scope;
pub mod truncate;
pub mod wire;

pub use document::document;
