//! The service that keeps the gateway running: installed where that was asked for.

use serde_json::{Value, json};

use super::linger::{self, Linger};
use crate::{client, session::Session};

/// What became of the service.
#[derive(Debug, Clone, PartialEq)]
pub enum Service {
    /// It was not asked for.
    NotWanted,
    /// It is there and runs.
    Installed {
        /// Whether it goes on after a log-out.
        linger: Linger,
    },
    /// It is not: why.
    Failed(String),
}

impl Service {
    /// `{installed, linger?, error?}`
    pub fn json(&self) -> Value {
        match self {
            Self::NotWanted => json!({ "installed": false }),
            Self::Installed { linger } => json!({ "installed": true, "linger": linger.json() }),
            Self::Failed(why) => json!({ "installed": false, "error": why }),
        }
    }
}

/// Installs it when `wanted`, and has it go on after a log-out.
pub async fn install(session: &Session, wanted: bool, can_ask: bool) -> Service {
    if !wanted {
        return Service::NotWanted;
    }
    if let Err(why) = put_up(session) {
        return Service::Failed(why);
    }
    let linger = linger::enable(&*client::platform().processes, &session.env, can_ask).await;
    Service::Installed { linger }
}

/// Writes the service's definition and starts it.
fn put_up(session: &Session) -> Result<(), String> {
    Err(format!("this version cannot install one yet; run `{} gateway` in a terminal", session.paths.command()))
}
