//! The simulated network: machines, ports, connects.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use openclaw_platform::{BoxFuture, BoxIo, Entropy, Listener, Transport, sync::LockExt as _};

use super::{Direction, FaultStream, LinkControl, Links};

/// Connections that wait to be accepted; a SYN beyond that is lost and sent again, as on Linux.
const BACKLOG: usize = 128;
/// Waits for a SYN that got no answer: 1 s, doubled each time, given up after the seventh (127 s), as on Linux.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const RETRIES: u32 = 6;
const FIRST_EPHEMERAL: u16 = 49_152;

/// Machines with IPv4 addresses and names, and the connections between them. A process that ends takes its listeners
/// with it, so connects to it are refused; a machine without power says nothing.
#[derive(Debug)]
pub struct SimNet {
    links: Arc<Links>,
    machines: Mutex<BTreeMap<String, Machine>>,
}

#[derive(Debug)]
struct Machine {
    ip: Ipv4Addr,
    powered: bool,
    /// Its process has died and does not know it yet.
    frozen: bool,
    ports: BTreeMap<u16, Arc<Port>>,
    next_port: u16,
}

impl Machine {
    /// The next port for a client or an unnamed listener. Those of connections are labels only and never run out.
    fn ephemeral(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL);
            if !self.ports.contains_key(&port) {
                return port;
            }
        }
    }
}

#[derive(Debug)]
struct Port {
    loopback_only: bool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(FaultStream, SocketAddr)>,
    accepting: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.locked()
}

/// Machines have addresses of a private network, but those of the internet, which are called `NAME.example`.
fn first_address(machine: &str) -> Ipv4Addr {
    if machine.ends_with(".example") { Ipv4Addr::new(93, 184, 215, 0) } else { Ipv4Addr::new(10, 0, 0, 0) }
}

/// As on a machine without IPv6.
fn no_ipv6(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::AddrNotAvailable, format!("no IPv6 in this network: {what}"))
}

impl SimNet {
    /// A network over `links`, with no machines.
    pub fn new(links: Arc<Links>) -> Arc<Self> {
        Arc::new(Self { links, machines: Mutex::default() })
    }

    /// The links between the names.
    pub fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// The sockets of somebody called `name` on the machine `machine` (added when it is new). Many may share a machine:
    /// clients, each with a name and so with links of its own; or the exit of an SSH tunnel, which reaches the gateway by
    /// its loopback address.
    pub fn transport(self: &Arc<Self>, machine: &str, name: &str) -> HostTransport {
        let mut machines = lock(&self.machines);
        let n = machines.len() as u32 + 1;
        machines.entry(machine.to_owned()).or_insert_with(|| Machine {
            ip: Ipv4Addr::from_bits(first_address(machine).to_bits() + n),
            powered: true,
            frozen: false,
            ports: BTreeMap::new(),
            next_port: FIRST_EPHEMERAL,
        });
        HostTransport { net: self.clone(), machine: machine.to_owned(), name: name.to_owned() }
    }

    /// Takes the power from a machine: its peers hear nothing more, not even the end of its connections. To be called
    /// before its process is crashed.
    pub fn power_off(&self, machine: &str) {
        if let Some(machine) = lock(&self.machines).get_mut(machine) {
            machine.powered = false;
        }
        for connection in self.connections_of(machine) {
            connection.silence();
        }
    }

    /// Gives it back: who still writes to a connection from before gets a reset.
    pub fn power_on(&self, machine: &str) {
        if let Some(machine) = lock(&self.machines).get_mut(machine) {
            machine.powered = true;
        }
        for connection in self.connections_of(machine) {
            connection.forget();
        }
    }

    /// The process of a machine dies in the middle of something: nothing of what it still does is to be heard or to hear
    /// anything. Once its tasks are gone, [`SimNet::thaw`] it. On a connection of a machine with itself the process is
    /// the end that accepted.
    pub fn freeze(&self, machine: &str) {
        self.set_frozen(machine, true);
        for connection in self.connections_of(machine) {
            let accepted = connection.machines[Direction::Down as usize] == machine;
            connection.freeze(if accepted { Direction::Down } else { Direction::Up });
        }
    }

    /// Ends [`SimNet::freeze`].
    pub fn thaw(&self, machine: &str) {
        self.set_frozen(machine, false);
        self.connections_of(machine).iter().for_each(|connection| connection.thaw());
    }

    fn set_frozen(&self, machine: &str, frozen: bool) {
        if let Some(machine) = lock(&self.machines).get_mut(machine) {
            machine.frozen = frozen;
        }
    }

    fn connections_of(&self, machine: &str) -> Vec<Arc<super::connection::Connection>> {
        let links = self.links.matching("*", "*");
        let all = links.iter().flat_map(|link| link.connections());
        all.filter(|c| c.machines.iter().any(|m| m == machine)).collect()
    }

    /// What becomes of a SYN that arrives now.
    fn knock(&self, from: &HostTransport, to: &str, loopback: bool, port: u16, link: &Arc<LinkControl>) -> Knock {
        let settings = link.settings();
        let mut machines = lock(&self.machines);
        let lost = settings.half_open || settings.stalled.contains(&true);
        if lost
            || !machines.get(to).is_some_and(|m| m.powered && !m.frozen)
            || !machines.get(&from.machine).is_some_and(|m| m.powered && !m.frozen)
        {
            return Knock::Lost;
        }
        let listening = machines.get(to).and_then(|m| m.ports.get(&port)).filter(|p| loopback || !p.loopback_only);
        let Some(listening) = listening.filter(|_| !settings.refuse).cloned() else {
            return Knock::Refused;
        };
        let Some(client) = machines.get_mut(&from.machine) else {
            return Knock::Lost;
        };
        let mut queue = lock(&listening.queue);
        if queue.waiting.len() >= BACKLOG {
            return Knock::Lost;
        }
        let ip = if loopback { Ipv4Addr::LOCALHOST } else { client.ip };
        let peer = SocketAddr::new(IpAddr::V4(ip), client.ephemeral());
        let (near, far) = FaultStream::between(link.clone(), [from.machine.clone(), to.to_owned()]);
        queue.waiting.push_back((far, peer));
        if let Some(waker) = queue.accepting.take() {
            waker.wake();
        }
        Knock::Open(near)
    }
}

enum Knock {
    Open(FaultStream),
    Refused,
    Lost,
}

/// The sockets of one name on one machine.
#[derive(Debug, Clone)]
pub struct HostTransport {
    net: Arc<SimNet>,
    machine: String,
    name: String,
}

impl HostTransport {
    /// The machine behind a host name or an address, and whether it is reached by loopback.
    fn find(&self, host: &str) -> io::Result<(String, bool)> {
        if host == "localhost" || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()) {
            return Ok((self.machine.clone(), true));
        }
        if host.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>().is_ok() {
            return Err(no_ipv6(host));
        }
        let machines = lock(&self.net.machines);
        let ip = host.parse::<Ipv4Addr>().ok();
        let found = machines.iter().find(|(name, machine)| *name == host || Some(machine.ip) == ip);
        found
            .map(|(name, _)| (name.clone(), false))
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no host {host}")))
    }

    async fn open(&self, host: &str, port: u16) -> io::Result<FaultStream> {
        let (to, loopback) = self.find(host)?;
        let link = self.net.links.link(&self.name, &to);
        let entropy: Arc<dyn Entropy> = link.connection_entropy();
        for attempt in 0..=RETRIES {
            tokio::time::sleep(link.draw_latency(&link.settings(), &*entropy)).await;
            let answer = self.net.knock(self, &to, loopback, port, &link);
            let back = link.draw_latency(&link.settings(), &*entropy);
            match answer {
                Knock::Open(stream) => {
                    tokio::time::sleep(back).await;
                    return Ok(stream);
                }
                Knock::Refused => {
                    tokio::time::sleep(back).await;
                    return Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("{host}:{port} refuses")));
                }
                Knock::Lost => tokio::time::sleep(FIRST_RETRY * 2u32.pow(attempt)).await,
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("{host}:{port} does not answer")))
    }
}

impl Transport for HostTransport {
    /// Only the unspecified address, loopback and the machine's own exist.
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let bound = (|| {
            let IpAddr::V4(ip) = addr.ip() else { return Err(no_ipv6(addr)) };
            let mut machines = lock(&self.net.machines);
            let machine = machines.get_mut(&self.machine).ok_or(io::ErrorKind::NetworkDown)?;
            if !(ip.is_unspecified() || ip.is_loopback() || ip == machine.ip) {
                return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{ip} is not this machine's")));
            }
            let number = if addr.port() == 0 { machine.ephemeral() } else { addr.port() };
            if machine.ports.contains_key(&number) {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("port {number} is in use")));
            }
            let port = Arc::new(Port { loopback_only: ip.is_loopback(), queue: Mutex::default() });
            machine.ports.insert(number, port.clone());
            let addr = SocketAddr::new(addr.ip(), number);
            let listener = HostListener { net: Arc::downgrade(&self.net), machine: self.machine.clone(), addr, port };
            Ok(Box::new(listener) as Box<dyn Listener>)
        })();
        Box::pin(std::future::ready(bound))
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move { Ok(Box::new(self.open(host, port).await?) as BoxIo) })
    }

    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found = self.find(host).map(|(machine, loopback)| {
            let ip = lock(&self.net.machines).get(&machine).map_or(Ipv4Addr::LOCALHOST, |m| m.ip);
            vec![IpAddr::V4(if loopback { Ipv4Addr::LOCALHOST } else { ip })]
        });
        Box::pin(std::future::ready(found))
    }
}

struct HostListener {
    net: Weak<SimNet>,
    machine: String,
    addr: SocketAddr,
    port: Arc<Port>,
}

impl HostListener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<(FaultStream, SocketAddr)> {
        let mut queue = lock(&self.port.queue);
        if let Some(next) = queue.waiting.pop_front() {
            return Poll::Ready(next);
        }
        queue.accepting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Listener for HostListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = poll_fn(|cx| self.poll_accept(cx)).await;
            Ok((Box::new(stream) as BoxIo, peer))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }
}

impl Drop for HostListener {
    /// Nobody listens any more, and whoever waited is turned away.
    fn drop(&mut self) {
        if let Some(net) = self.net.upgrade()
            && let Some(machine) = lock(&net.machines).get_mut(&self.machine)
        {
            machine.ports.remove(&self.addr.port());
        }
        let waiting = std::mem::take(&mut lock(&self.port.queue).waiting);
        drop(waiting);
    }
}
