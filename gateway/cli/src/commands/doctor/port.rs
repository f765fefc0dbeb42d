//! The gateway's port while no gateway of this profile runs.

use super::check::Check;
use crate::{
    commands::gateway_status::{port, report::PortStatus},
    config_file::{self, State},
    session::Session,
};

/// `port`: somebody else listens where the next start wants to.
pub async fn checks(session: &Session) -> Option<Check> {
    let Ok(State::Valid(loaded)) = config_file::load(session) else { return None };
    let (number, _) = session.paths.port(None, &session.env, loaded.config.gateway.port).ok()?;
    let there = port::look(session, "127.0.0.1", number).await;
    if there.status == PortStatus::Free {
        return None;
    }
    let who: Vec<String> = there.listeners.iter().map(|l| format!(" ({}, pid {})", l.command, l.pid)).collect();
    let text = format!("another program listens on port {number}{}: a start would be refused", who.concat());
    let fix = "end it (`openclaw gateway --force` does), or give the gateway another port: `openclaw config set gateway.port PORT`";
    Some(Check::warn("port", text, fix))
}
