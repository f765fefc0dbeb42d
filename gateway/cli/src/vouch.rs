//! Who listens on a port of this machine, before a credential goes there.
//!
//! Any program may listen on a loopback port while the gateway does not. So a credential that nobody typed (it stands in the
//! configuration or in the environment) goes only to the process that holds the lock of this profile's state directory,
//! for the port that its lock file names. One that was given for a gateway elsewhere (`gateway.remote`, or the environment beside
//! an address) and whose address is a port of this machine, the near end of a tunnel, goes only to a listener of the same user. One
//! that was typed with the command goes where the command says.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use openclaw_client::Vouch;
use openclaw_platform::{BoxFuture, Clock as _, os::OsClock};

use crate::{
    lock::{self, Holder},
    session::Session,
    sockets::{self, Listener},
};

/// A gateway that has its lock listens a moment later, and writes its sockets down then.
const STARTING: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// The lock of a state directory as a witness.
#[derive(Debug)]
pub struct LockFile {
    state_dir: PathBuf,
    command: String,
}

impl LockFile {
    /// The lock of this profile.
    pub fn of(session: &Session) -> Self {
        Self { state_dir: session.paths.state_dir.clone(), command: session.paths.command() }
    }

    /// What was found instead of this profile's gateway; `None` when it is the one that listens.
    async fn objection(&self, host: &str, port: u16) -> Option<String> {
        let deadline = OsClock.mono() + STARTING;
        loop {
            let holder = lock::held_by(&self.state_dir);
            let verdict = judge(holder.as_ref(), sockets::listeners().as_deref(), host, port);
            if !matches!(verdict, Err(Objection::Starting)) || OsClock.mono() >= deadline {
                return verdict.err().map(|objection| objection.to_string());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Vouch for LockFile {
    fn vouch<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let Some(found) = self.objection(host, port).await else { return Ok(()) };
            Err(format!(
                "expected the gateway of the state directory {}, found that {found}. Start it with `{} gateway`; or, if \
                 you know who listens there (an SSH tunnel, say), give the credential with the command: --token-file \
                 PATH or --token TOKEN",
                self.state_dir.display(),
                self.command,
            ))
        })
    }
}

/// The user who runs the near end of a tunnel as a witness: his programs could read the credential from his files all the same.
#[derive(Debug)]
pub struct OwnTunnel;

impl Vouch for OwnTunnel {
    fn vouch<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<(), String>> {
        let own = rustix::process::getuid().as_raw();
        let verdict = if is_of(own, sockets::listeners().as_deref(), host, port) {
            Ok(())
        } else {
            Err("expected a tunnel of yours (`ssh -N -L`, say), found that another user's program, or none, listens there. Start \
                 the tunnel; or use wss:// and name the certificate at its far end (gateway.remote.tlsFingerprint); or, if you know \
                 who listens there, give the credential with the command: --token-file PATH or --token TOKEN"
                .to_owned())
        };
        Box::pin(std::future::ready(verdict))
    }
}

/// True when all who take connections to that port are of this user, or of root, from whom nothing is hidden (`None` where the
/// system does not tell).
fn is_of(uid: u32, all: Option<&[Listener]>, host: &str, port: u16) -> bool {
    let Some(all) = all else { return true };
    let taking: Vec<&Listener> = addresses(host).into_iter().flat_map(|ip| sockets::taking(all, ip, port)).collect();
    !taking.is_empty() && taking.iter().all(|listener| listener.uid == uid || listener.uid == 0)
}

/// Where a connection to `host` may go: for a name of this machine, whichever of its addresses was taken.
fn addresses(host: &str) -> Vec<IpAddr> {
    match host.trim_matches(['[', ']']).parse() {
        Ok(ip) => vec![ip],
        Err(_) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
    }
}

/// Why the lock does not vouch for a listener.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Objection {
    #[error("no gateway runs on it, so something else listens there")]
    NotHeld,
    #[error("its lock is held by another command than a gateway ({0})")]
    NoGateway(String),
    #[error("its gateway has port {0}, so something else listens there")]
    OtherPort(u16),
    #[error("its gateway is only starting and does not listen yet (or is of an older version: restart it)")]
    Starting,
    #[error("another process than its gateway listens there")]
    OtherProcess,
}

/// Judges by the lock's holder and by the sockets that listen (`None` where the system does not tell them: then the held
/// lock is enough).
fn judge(holder: Option<&Holder>, all: Option<&[Listener]>, host: &str, port: u16) -> Result<(), Objection> {
    let holder = holder.ok_or(Objection::NotHeld)?;
    match holder.port {
        None => return Err(Objection::NoGateway(holder.to_string())),
        Some(other) if other != port => return Err(Objection::OtherPort(other)),
        Some(_) => {}
    }
    let Some(all) = all else { return Ok(()) };
    if holder.sockets.is_empty() {
        return Err(Objection::Starting);
    }
    let taking: Vec<&Listener> = addresses(host).into_iter().flat_map(|ip| sockets::taking(all, ip, port)).collect();
    let ours = !taking.is_empty() && taking.iter().all(|listener| holder.sockets.contains(&listener.inode));
    if ours { Ok(()) } else { Err(Objection::OtherProcess) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(line: &str) -> Holder {
        let dir = tempfile::tempdir().unwrap();
        crate::config_file::replace(&dir.path().join("gateway.lock"), line).unwrap();
        lock::holder(dir.path()).unwrap()
    }

    fn listener(ip: &str, inode: u64) -> Listener {
        Listener { ip: ip.parse().unwrap(), port: 5, uid: 1000, inode }
    }

    #[test]
    fn s17_the_lock_vouches_for_its_own_sockets_only() {
        let gateway = holder("pid 7, port 5, since 2026, sockets 11 12");
        let mine = [listener("127.0.0.1", 11), listener("::1", 12)];
        let judge_at = |all: &[Listener], host: &str, port| judge(Some(&gateway), Some(all), host, port);
        for host in ["127.0.0.1", "localhost", "::1", "[::1]"] {
            assert_eq!(judge_at(&mine, host, 5), Ok(()), "{host}");
        }
        assert_eq!(judge_at(&mine, "127.0.0.1", 6), Err(Objection::OtherPort(5)));
        // Nobody the gateway knows of listens at that address.
        assert_eq!(judge_at(&mine, "127.0.0.2", 5), Err(Objection::OtherProcess));
        let squatted = [listener("127.0.0.1", 11), listener("::1", 99)];
        assert_eq!(judge_at(&squatted, "127.0.0.1", 5), Ok(()));
        assert_eq!(judge_at(&squatted, "::1", 5), Err(Objection::OtherProcess));
        assert_eq!(judge_at(&squatted, "localhost", 5), Err(Objection::OtherProcess));
        assert_eq!(judge(Some(&gateway), None, "127.0.0.1", 5), Ok(()), "the system does not tell");
        assert_eq!(judge(None, Some(&mine), "127.0.0.1", 5), Err(Objection::NotHeld));
        let starting = holder("pid 7, port 5, since 2026");
        assert_eq!(judge(Some(&starting), Some(&mine), "127.0.0.1", 5), Err(Objection::Starting));
        let backup = holder("pid 7, port 0, since 2026");
        assert!(matches!(judge(Some(&backup), Some(&mine), "127.0.0.1", 5), Err(Objection::NoGateway(_))));
    }
    #[test]
    fn s17_the_near_end_of_a_tunnel_is_of_the_same_user() {
        let of = |uid| [Listener { uid, ..listener("127.0.0.1", 11) }];
        assert!(is_of(1000, Some(&of(1000)), "localhost", 5) && is_of(1000, Some(&of(0)), "127.0.0.1", 5));
        assert!(!is_of(1000, Some(&of(1001)), "127.0.0.1", 5), "another user's");
        assert!(!is_of(1000, Some(&of(1000)), "127.0.0.1", 6), "nobody's");
        let both = [listener("127.0.0.1", 11), Listener { uid: 1001, ..listener("::1", 12) }];
        assert!(!is_of(1000, Some(&both), "localhost", 5) && is_of(1000, Some(&both), "127.0.0.1", 5));
        assert!(is_of(1000, None, "127.0.0.1", 5), "the system does not tell");
    }
}
