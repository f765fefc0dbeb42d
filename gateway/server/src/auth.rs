//! Who connects, from where, and with what: the checks before anything else is believed (protocol-core.md sections 7 and
//! 8; decisions D8, D9, D25; S03, S04, S13).

pub mod access;
mod credential;
mod forwarded;
mod limiter;
mod origin;
mod password;
mod refused;
mod tailscale;
mod turns;

pub use credential::{Admission, Allowances, Credentials, Via, same_secret};
pub use limiter::{FailureLimiter, network_of};
pub use origin::{Machine, Origin, ServeClaim};
pub use password::{PasswordError, Passwords, hash_password, is_hash};
pub use refused::Refused;
pub use tailscale::Tailscale;
pub use turns::{Turn, Turns};
