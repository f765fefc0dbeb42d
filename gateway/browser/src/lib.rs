//! Browsers that agents and operators use: Chromium programs of this machine, one for each profile, driven over Chrome's DevTools
//! protocol (D3, docs/browser.md).
//!
//! Everything goes through the platform's seams (processes, sockets, files, time), so that the tests drive a DevTools server in
//! memory. What may never be here: anything that knows the gateway's wire, its HTTP service or its agents. They all ask one
//! [`Control`] with the same [`Request`].
//!
//! Start reading at [`Control`]; `running.rs` starts and ends a browser, `running/tab.rs` does what is asked of a page.

mod act;
mod address;
mod cdp;
mod control;
mod error;
mod executable;
mod guard;
mod keys;
mod launch;
mod limits;
mod profiles;
mod protocol;
mod request;
mod running;
mod screenshot;
mod snapshot;
#[cfg(test)]
mod tests;

pub use control::{Control, Deps, Listening};
pub use error::BrowserError;
pub use limits::{BODY_BYTES, PICTURE_BYTES};
pub use request::{Method, Request};
