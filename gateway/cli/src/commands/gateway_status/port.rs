//! Whether somebody listens on a port of this machine, and who.

use std::time::Duration;

use super::report::{Listener, Port, PortStatus};
use crate::{client, force, lock, session::Session};

/// A connect to this machine takes no longer.
const CONNECT: Duration = Duration::from_secs(1);

/// Looks at `port` of `host`.
pub async fn look(session: &Session, host: &str, port: u16) -> Port {
    let platform = client::platform();
    let connect = platform.transport.connect(host, port);
    let is_busy = tokio::time::timeout(CONNECT, connect).await.is_ok_and(|result| result.is_ok());
    let status = if is_busy { PortStatus::Busy } else { PortStatus::Free };
    let mut listeners = match force::find_lsof(session.env.get("PATH")) {
        Some(lsof) if is_busy => force::listeners(&*platform.processes, &lsof, port).await.unwrap_or_default(),
        _ => vec![],
    };
    // A gateway shows its sockets to nobody but root; its lock names it.
    let holder = lock::held_by(&session.paths.state_dir).filter(|holder| is_busy && holder.port == Some(port));
    let gateway = holder.and_then(|holder| i32::try_from(holder.pid?).ok());
    if let Some(pid) = gateway.filter(|pid| listeners.iter().all(|l| l.pid != *pid)) {
        listeners.push(force::Listening { pid, command: "openclaw".to_owned() });
    }
    let is_stranger = gateway.is_none() && is_busy;
    let hints = if is_stranger {
        let state = session.paths.state_dir.display();
        vec![format!("who listens is not the gateway of {state}: no gateway holds the lock there for this port")]
    } else {
        vec![]
    };
    let listeners = listeners.into_iter().map(|l| Listener { pid: l.pid, command: l.command }).collect();
    Port { port, status, listeners, hints }
}
