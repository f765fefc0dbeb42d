//! The configuration file: its types, how its text becomes them, and how it is edited.
//!
//! Pure: text and environment look-ups in, a typed [`Config`] or all [`Problem`]s out. What may never be here: files,
//! clocks, the process environment, anything that knows the server.
//!
//! Start reading at [`Config`] and [`parse`]. Defaults are in one place (`defaults.rs`), bounds stand at their fields.

mod agents;
mod binding_rules;
mod bindings;
mod bounds;
mod browser;
pub mod change;
mod channels;
mod check;
mod config;
mod conversation;
mod credential;
mod defaults;
pub mod diff;
mod duration;
pub mod edit;
mod explain;
mod gateway;
mod hints;
mod include;
mod keys;
mod known;
mod legacy;
mod mask;
mod model;
mod model_keys;
mod models;
mod network;
mod normal;
mod outside;
mod parse;
mod path;
mod policies;
mod ports;
mod problem;
mod read;
mod redact;
mod roster;
mod sandbox;
mod sandbox_of;
mod schema;
mod secret;
mod secret_names;
mod secret_ref;
mod shapes;
mod strength;
mod telegram;
mod text;
mod tolerance;
mod tool_rules;
mod typed;
mod vars;

#[cfg(test)]
mod tests;

pub use agents::*;
pub use bindings::*;
pub use browser::*;
pub use channels::*;
pub use config::*;
pub use conversation::*;
pub use defaults::{DEFAULT_AGENT, DEFAULT_PORT, DEV_PORT, ECHO_MODEL};
pub use duration::parse_duration;
pub use gateway::*;
pub use hints::hints;
pub use known::known_providers;
pub use legacy::{Migration, migrate};
pub use mask::Masker;
pub use model::{ModelRef, ResolvedModel, model_named, resolve_model};
pub use model_keys::{UnusableModel, unusable_models};
pub use models::*;
pub use network::Network;
pub use outside::Outside;
pub use parse::{Loaded, parse, strict};
pub use path::{Path, PathError, Segment};
pub use policies::*;
pub use ports::{CanvasEnv, CanvasSource, Ports, configured_ports, overlap, ports};
pub use problem::Problem;
pub use read::read;
pub use redact::{own_secrets_in, redacted, redacted_text, restored, secret_paths_in, secrets_in};
pub use roster::Workplace;
pub use sandbox::*;
pub use sandbox_of::SandboxInForce;
pub use schema::schema;
pub use secret::{REDACTED, Secret};
pub use secret_names::is_secret_name;
pub use strength::{STRONG_BITS, token_bits, weakness};
pub use telegram::*;
pub use text::read_value;
pub use tool_rules::*;
