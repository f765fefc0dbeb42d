//! The gateway as a service of the machine: systemd, launchd, the task scheduler of Windows.
//!
//! Text in, text out: a [`Definition`] is rendered as the file that a supervisor reads, a file that is there is parsed and
//! [`audit`]ed against it. [`Service`] installs, starts and looks, with files behind [`Files`] and commands behind
//! [`openclaw_platform::Processes`], so that tests and other machines' formats need no supervisor.
//!
//! What may never be here: anything that knows the gateway's configuration or protocol.
//! Start reading at [`Definition`], then [`Kind`] and [`Service`].

mod audit;
mod definition;
mod error;
mod files;
mod format;
mod hints;
mod kind;
mod launchd;
mod linger;
mod names;
mod others;
mod parsed;
mod repair;
mod repaired;
mod service;
mod supervisors;
mod systemd;
mod unavailable;
mod windows;

pub use audit::{Finding, Level, audit};
pub use definition::{Definition, KIND, MARKER, Unfit, VERSION};
pub use error::Error;
pub use files::Files;
pub use kind::Kind;
pub use linger::{Linger, enable_linger, linger};
pub use names::{PROFILE, SYSTEMD_UNIT, label};
pub use others::{Other, others};
pub use parsed::Parsed;
pub use repair::repair;
pub use repaired::Repaired;
pub use service::{Host, Installation, Places, Service};
pub use supervisors::{Runtime, State, Status};
pub use unavailable::{Place, Unavailable};
