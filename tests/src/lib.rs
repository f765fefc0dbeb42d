//! Whole-binary tests: the built program, real sockets, real processes, real kills.
//!
//! This crate gives them what they need: [`Gateway`] runs the program with a home of its own, [`Home`] runs it as a
//! person does, [`Fake`] runs one of the fakes, [`binary`] builds what they run. What may never be here: a call into the
//! gateway's crates that a client or an operator could not make from outside.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway: real processes, files and time
#![allow(clippy::expect_used)] // a test that cannot be set up has failed

mod binaries;
mod fake;
mod gateway;
mod home;
mod http;
mod left_out;
mod port;
mod program;
mod raw;
mod user_manager;
pub mod uses;

pub use binaries::binary;
pub use fake::Fake;
pub use gateway::{Gateway, TOKEN, home};
pub use home::{Home, Running};
pub use http::{http, http_json};
pub use left_out::left_out;
use openclaw_platform::{Platform, os};
pub use port::free_port_block;
pub use program::{Ran, openclaw};
pub use raw::{Ended, RawClient, connect};
pub use user_manager::UserManager;

/// base64url without padding, as device blocks spell bytes.
pub fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// The real sockets, clocks and tasks, for clients and fakes inside the test process; their files are in memory.
pub fn os_platform() -> Platform {
    os::without_files()
}
