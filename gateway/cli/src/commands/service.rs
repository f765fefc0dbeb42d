//! `gateway install`, `uninstall`, `start`, `stop`, `restart`: the gateway as a service of this machine; `gateway supervise` where
//! the machine has nothing for that.
//!
//! [`machine`] is this machine as `openclaw_service` wants it, [`wanted`] what an installation of today would write; whoever
//! looks at a service (`gateway status`, `doctor`) begins with these two. [`install::install`] is for whoever installs one on
//! the way.

pub mod as_installed;
pub mod control;
pub mod error_log;
mod files;
pub mod install;
pub mod linger;
pub mod machine;
mod needs;
pub mod report;
pub mod supervise;
pub mod wanted;
