//! Tells the supervisor how this process does, in the words of systemd's `sd_notify`: ready, stopping, starting again, alive.
//!
//! No crate: it is one datagram. Those that do it read the ambient environment, know no abstract addresses, and block when the
//! supervisor does not read; this program reads its environment once and may never wait for its supervisor.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the process's own supervisor, outside of the seams

use std::{
    io,
    os::unix::net::{SocketAddr, UnixDatagram},
    sync::Arc,
    time::Duration,
};

use openclaw_config::Masker;
use openclaw_protocol::{display, truncate};

use crate::env::Env;

/// Characters of a status line: `systemctl status` shows it in one, and `gateway status` finds the last error there.
const STATUS: usize = 400;

/// Who started this process and waits for its messages; nobody, when it was started by hand.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    socket: Option<Arc<SocketAddr>>,
    /// The process is killed when it was not said to be alive for this long.
    pub watchdog: Option<Duration>,
}

impl Supervisor {
    /// As NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID say; a deadline that was set for another process is not ours.
    pub fn of(env: &Env, pid: u32) -> Self {
        let Some(socket) = env.get("NOTIFY_SOCKET").and_then(address) else { return Self::default() };
        let is_ours = env.get("WATCHDOG_PID").is_none_or(|text| text.parse() == Ok(pid));
        let time = env.get("WATCHDOG_USEC").filter(|_| is_ours).and_then(|text| text.parse().ok());
        let watchdog = time.filter(|usec| *usec > 0).map(Duration::from_micros);
        Self { socket: Some(Arc::new(socket)), watchdog }
    }

    /// Clients can connect.
    pub fn ready(&self, status: &str) {
        self.tell("READY=1", status);
    }

    /// The end has begun; what is under way is finished.
    pub fn stopping(&self, status: &str) {
        self.tell("STOPPING=1", status);
    }

    /// It starts again in this process; [`Supervisor::ready`] is told when it has.
    pub fn restarting(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"), "starting again in the same process");
    }

    /// Why it does not serve, or what it waits for.
    pub fn status(&self, status: &str) {
        self.tell("", status);
    }

    /// It lives: the watchdog's deadline begins anew.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn tell(&self, state: &str, status: &str) {
        // Everybody who may ask the supervisor sees it (S34).
        let status: Vec<&str> = status.split_whitespace().collect();
        let status = status.join(" ");
        let status = display::line(&status);
        let status = Masker::default().mask(&status);
        let status = truncate::chars(&status, STATUS);
        self.send(format!("{state}\nSTATUS={status}").trim_start());
    }

    /// A supervisor that does not listen is no reason to fail or to wait.
    fn send(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        let sent = UnixDatagram::unbound().and_then(|from| {
            from.set_nonblocking(true)?;
            from.send_to_addr(text.as_bytes(), socket)
        });
        if let Err(error) = sent {
            tracing::debug!(%error, "the supervisor takes no message");
        }
    }
}

/// A path, or with `@` before it a name of the abstract name space (Linux).
fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix('@') {
        Some(name) => abstract_name(name).ok(),
        None => text.starts_with('/').then(|| SocketAddr::from_pathname(text).ok())?,
    }
}

#[cfg(target_os = "linux")]
fn abstract_name(name: &str) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_name(_: &str) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A supervisor and what it hears.
    pub fn supervisor(dir: &std::path::Path, more: &[(&str, &str)]) -> (Supervisor, UnixDatagram) {
        let path = dir.join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_nonblocking(true).unwrap();
        let mut vars = vec![("NOTIFY_SOCKET", path.to_str().unwrap())];
        vars.extend(more);
        (Supervisor::of(&Env::of(&vars), 7), heard)
    }

    pub fn next(heard: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 4096];
        let n = heard.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..n]).into_owned())
    }

    #[test]
    fn the_words_are_those_of_sd_notify() {
        let dir = tempfile::tempdir().unwrap();
        let (told, heard) = supervisor(dir.path(), &[]);
        told.ready("port 5");
        told.alive();
        told.stopping("a\nREADY=1 ws://me:hunter2@h:1");
        told.restarting();
        assert_eq!(next(&heard).unwrap(), "READY=1\nSTATUS=port 5");
        assert_eq!(next(&heard).unwrap(), "WATCHDOG=1");
        let stopping = next(&heard).unwrap();
        assert!(stopping.starts_with("STOPPING=1\nSTATUS=a") && stopping.lines().count() == 2, "{stopping:?}");
        assert!(!stopping.contains("hunter2"), "{stopping:?}");
        let restarting = next(&heard).unwrap();
        assert!(restarting.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{restarting:?}");
        drop(heard);
        told.ready("nobody listens any more");
    }

    #[test]
    fn a_supervisor_that_reads_nothing_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (told, _heard) = supervisor(dir.path(), &[]);
        for _ in 0..10_000 {
            told.alive();
        }
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let of = |vars: &[(&str, &str)]| {
            std::fs::remove_file(dir.path().join("notify")).ok();
            supervisor(dir.path(), vars).0.watchdog
        };
        assert_eq!(of(&[("WATCHDOG_USEC", "2000000")]), Some(Duration::from_secs(2)));
        assert_eq!(of(&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "7")]), Some(Duration::from_secs(2)));
        assert_eq!(of(&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "8")]), None);
        assert_eq!(of(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(Supervisor::of(&Env::of(&[("WATCHDOG_USEC", "2000000")]), 7).watchdog, None, "nobody to tell");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_addresses_are_known() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("openclaw-test-{}", std::process::id());
        let heard = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let told = Supervisor::of(&Env::of(&[("NOTIFY_SOCKET", &format!("@{name}"))]), 7);
        told.alive();
        heard.set_nonblocking(true).unwrap();
        assert_eq!(next(&heard).as_deref(), Some("WATCHDOG=1"));
        assert!(Supervisor::of(&Env::of(&[("NOTIFY_SOCKET", "vsock:2:1")]), 7).socket.is_none());
    }
}
