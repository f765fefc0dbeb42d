//! Keeps the supervisor's watchdog quiet as long as the gateway answers, and only as long: a process that hangs is killed and
//! started anew.
//!
//! It is a task of the gateway's own runtime. When that does not turn, or the accept loop does not take a connection, or nothing
//! answers on it, the supervisor hears nothing.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openclaw_platform::Transport;
use openclaw_server::Listening;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
};

use crate::supervisor::Supervisor;

/// Asks for what takes no credential and reads no state.
const QUESTION: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// Between two questions that were not answered.
const AGAIN: Duration = Duration::from_secs(1);
/// A start or an end within the process, during which nobody accepts, may take this long.
const BETWEEN: Duration = Duration::from_mins(5);

/// Where the gateway listens, and whether it accepts there now.
#[derive(Clone)]
pub struct Doors {
    /// The first of its addresses.
    pub addr: Option<SocketAddr>,
    /// As [`openclaw_server::Listening::accepting`].
    pub accepting: Arc<AtomicBool>,
}

impl Doors {
    /// Those of these sockets.
    pub fn of(listening: &Listening) -> Self {
        Self { addr: listening.addresses().first().copied(), accepting: listening.accepting() }
    }
}

/// Says every half of the deadline that the gateway lives, once it has answered. Never ends by itself.
pub async fn watch(supervisor: Supervisor, transport: Arc<dyn Transport>, doors: watch::Receiver<Doors>) {
    let Some(deadline) = supervisor.watchdog else { return };
    let (half, patience) = (deadline / 2, deadline / 4);
    let (mut between, mut is_told) = (Duration::ZERO, false);
    loop {
        let now = doors.borrow().clone();
        let is_alive = if now.accepting.load(Ordering::Acquire) {
            between = Duration::ZERO;
            let asked = tokio::time::timeout(patience, answers(&*transport, now.addr)).await;
            // What the gateway closes or resets has been accepted by it: a flood that leaves no place is no hang.
            asked.is_ok_and(|answer| answer.is_ok())
        } else {
            between <= BETWEEN
        };
        let pause = if is_alive { half } else { AGAIN.min(patience) };
        if is_alive {
            supervisor.alive();
        } else if !is_told {
            tracing::error!("the gateway does not answer on its own port: the supervisor is not told that it lives");
        }
        is_told = !is_alive;
        tokio::time::sleep(pause).await;
        between += pause;
    }
}

/// # Errors
/// Nobody listens there.
async fn answers(transport: &dyn Transport, addr: Option<SocketAddr>) -> io::Result<()> {
    let Some(addr) = addr else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
    let mut io = transport.connect(&reachable(addr.ip()).to_string(), addr.port()).await?;
    if io.write_all(QUESTION).await.is_ok() {
        let _ = io.read(&mut [0; 16]).await;
    }
    Ok(())
}

/// The address to ask at, for a socket that listens on all of them.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::{Listener, SpawnerExt as _, os::OsSpawner};

    use super::*;
    use crate::{
        client::platform,
        supervisor::tests::{next, supervisor},
    };

    struct Rig {
        listener: Box<dyn Listener>,
        doors: watch::Sender<Doors>,
        heard: std::os::unix::net::UnixDatagram,
        _dir: tempfile::TempDir,
    }

    /// A watch with a deadline of 400 ms over a socket that nobody accepts on yet.
    async fn rig(accepting: bool) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let (told, heard) = supervisor(dir.path(), &[("WATCHDOG_USEC", "400000")]);
        let transport = platform().transport;
        let listener = transport.bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let addr = Some(listener.local_addr().unwrap());
        let (doors, watched) = watch::channel(Doors { addr, accepting: Arc::new(AtomicBool::new(accepting)) });
        OsSpawner.spawn("watchdog", watch(told, transport, watched));
        Rig { listener, doors, heard, _dir: dir }
    }

    async fn heard_within(rig: &Rig, time: Duration) -> bool {
        let deadline = tokio::time::sleep(time);
        let heard = async {
            while next(&rig.heard).is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        openclaw_platform::select! {
            () = heard => true,
            () = deadline => false,
        }
    }

    #[tokio::test]
    async fn a_gateway_that_does_not_answer_is_not_said_to_live() {
        let mut rig = rig(true).await;
        // The kernel takes the connection; nobody answers on it.
        assert!(!heard_within(&rig, Duration::from_millis(900)).await);
        let mut taken = vec![];
        for _ in 0..3 {
            taken.push(rig.listener.accept().await.unwrap());
        }
        assert!(!heard_within(&rig, Duration::from_millis(300)).await, "accepted, and left without an answer");
        drop(taken);
        for is_answered in [true, false] {
            // Questions that were given up are still in the queue.
            loop {
                let (mut io, _) = rig.listener.accept().await.unwrap();
                if is_answered {
                    let _ = io.write_all(b"HTTP/1.1 200 OK\r\n").await;
                }
                drop(io);
                if heard_within(&rig, Duration::from_millis(50)).await {
                    break;
                }
            }
        }
    }

    #[tokio::test]
    async fn a_start_in_the_same_process_is_no_hang_and_a_closed_port_is_one() {
        let rig = rig(false).await;
        assert!(heard_within(&rig, Duration::from_secs(10)).await && heard_within(&rig, Duration::from_secs(10)).await);
        let addr = rig.listener.local_addr().unwrap();
        drop(rig.listener);
        rig.doors.send_replace(Doors { addr: Some(addr), accepting: Arc::new(AtomicBool::new(true)) });
        let rig = Rig { listener: platform().transport.bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap(), ..rig };
        // What was on its way.
        let _ = heard_within(&rig, Duration::from_millis(400)).await;
        while next(&rig.heard).is_some() {}
        assert!(!heard_within(&rig, Duration::from_millis(600)).await);
    }

    #[test]
    fn a_socket_on_all_addresses_is_asked_on_this_machine() {
        assert_eq!(reachable("0.0.0.0".parse().unwrap()), IpAddr::from(Ipv4Addr::LOCALHOST));
        assert_eq!(reachable("::".parse().unwrap()), IpAddr::from(Ipv6Addr::LOCALHOST));
        assert_eq!(reachable("10.1.2.3".parse().unwrap()), "10.1.2.3".parse::<IpAddr>().unwrap());
    }
}
