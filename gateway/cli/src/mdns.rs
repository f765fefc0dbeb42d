//! Gateways on the local network: what this one says of itself by multicast DNS, and what others do.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use mdns_sd::{Error, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use openclaw_platform::{Clock as _, os::OsClock};
use serde::Serialize;

/// The kind of service that apps look for.
pub const SERVICE: &str = "_openclaw-gw._tcp.local.";
/// Gateways that one look lists.
const FOUND: usize = 256;
/// How long the goodbye of an announcement may take.
const GOODBYE: Duration = Duration::from_millis(250);
/// Bytes of a name in DNS.
const LABEL: usize = 63;
/// Bytes of a property's value; with its name it may have 255.
const PROPERTY: usize = 200;

/// What a gateway says of itself.
#[derive(Debug, Clone)]
pub struct About {
    /// The machine's name.
    pub host: String,
    /// The gateway's port.
    pub port: u16,
    /// The fingerprint of its certificate, where it speaks TLS.
    pub fingerprint: Option<String>,
    /// Where the program lies, for those who come by SSH.
    pub program: Option<String>,
}

impl About {
    fn properties(&self) -> BTreeMap<String, String> {
        let label = label(&self.host);
        let mut all = BTreeMap::from([
            ("role".to_owned(), "gateway".to_owned()),
            ("transport".to_owned(), "gateway".to_owned()),
            ("displayName".to_owned(), self.host.chars().take(LABEL / 2).collect()),
            ("lanHost".to_owned(), format!("{label}.local")),
            ("gatewayPort".to_owned(), self.port.to_string()),
        ]);
        if let Some(fingerprint) = &self.fingerprint {
            all.insert("gatewayTls".to_owned(), "1".to_owned());
            all.insert("gatewayTlsSha256".to_owned(), fingerprint.clone());
        }
        if let Some(program) = self.program.as_ref().filter(|program| program.len() <= PROPERTY) {
            all.insert("sshPort".to_owned(), "22".to_owned());
            all.insert("cliPath".to_owned(), program.clone());
        }
        all
    }

    fn service(&self) -> Result<ServiceInfo, Error> {
        let label = label(&self.host);
        let (name, host) = (format!("{label} (OpenClaw {})", self.port), format!("{label}.local."));
        let properties: Vec<(String, String)> = self.properties().into_iter().collect();
        Ok(ServiceInfo::new(SERVICE, &name, &host, (), self.port, &properties[..])?.enable_addr_auto())
    }
}

/// The first part of a host's name, as a label of DNS.
fn label(host: &str) -> String {
    let first = host.split('.').next().unwrap_or_default();
    let kept: String = first.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(LABEL / 2).collect();
    if kept.is_empty() { "openclaw".to_owned() } else { kept }
}

/// An announcement; dropping it takes it back.
pub struct Announcement {
    daemon: ServiceDaemon,
    name: String,
}

impl Announcement {
    /// Says it, and goes on answering whoever asks.
    ///
    /// # Errors
    /// The system has no multicast socket, or the words do not fit.
    pub fn begin(about: &About) -> Result<Self, Error> {
        let service = about.service()?;
        let name = service.get_fullname().to_owned();
        let daemon = ServiceDaemon::new()?;
        let announcement = Self { daemon, name };
        announcement.daemon.register(service)?;
        Ok(announcement)
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if let Ok(gone) = self.daemon.unregister(&self.name) {
            let _ = gone.recv_timeout(GOODBYE);
        }
        let _ = self.daemon.shutdown();
    }
}

/// A gateway that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// Its name on the network.
    pub name: String,
    /// The machine.
    pub host: String,
    /// Where clients connect to.
    pub url: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The fingerprint of its certificate, where it speaks TLS. Anybody on the network may say so: compare it with what the gateway's
    /// owner tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_fingerprint: Option<String>,
}

impl Found {
    fn of(service: &ResolvedService) -> Self {
        let text = |key: &str| service.get_property_val_str(key).map(str::to_owned);
        let name = service.get_fullname().strip_suffix(SERVICE).unwrap_or(service.get_fullname());
        let mut addresses: Vec<IpAddr> = service.get_addresses().iter().map(mdns_sd::ScopedIp::to_ip_addr).collect();
        addresses.sort_unstable();
        let host = service.get_hostname().trim_end_matches('.').to_owned();
        let scheme = if text("gatewayTls").as_deref() == Some("1") { "wss" } else { "ws" };
        Self {
            name: name.trim_end_matches('.').to_owned(),
            url: format!("{scheme}://{host}:{}", service.get_port()),
            host,
            addresses,
            tls_fingerprint: text("gatewayTlsSha256"),
        }
    }
}

/// Listens for so long; what is found, by name. Blocks.
///
/// # Errors
/// The system has no multicast socket.
pub fn look(patience: Duration) -> Result<Vec<Found>, Error> {
    let daemon = ServiceDaemon::new()?;
    let events = daemon.browse(SERVICE)?;
    let (begun, mut found) = (OsClock.mono(), BTreeMap::new());
    let left = || patience.saturating_sub(OsClock.mono().duration_since(begun));
    while found.len() < FOUND
        && let Ok(event) = events.recv_timeout(left())
    {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                found.insert(service.get_fullname().to_owned(), Found::of(&service));
            }
            ServiceEvent::ServiceRemoved(_, name) => drop(found.remove(&name)),
            _ => {}
        }
    }
    let _ = daemon.shutdown();
    Ok(found.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About { host: "box-7.example.org".into(), port: 21_777, fingerprint: None, program: None }
    }

    #[test]
    fn what_is_said_is_what_was_asked_for() {
        let plain = about().properties();
        assert_eq!((plain["gatewayPort"].as_str(), plain["lanHost"].as_str()), ("21777", "box-7.local"));
        assert!(!plain.contains_key("gatewayTls") && !plain.contains_key("cliPath"), "{plain:?}");
        let full = About { fingerprint: Some("sha256:AB".into()), program: Some("/bin/openclaw".into()), ..about() };
        let full = full.properties();
        assert_eq!((full["gatewayTlsSha256"].as_str(), full["cliPath"].as_str()), ("sha256:AB", "/bin/openclaw"));
        for odd in ["", "ähm", "...", &"x".repeat(300)] {
            assert!(About { host: odd.to_owned(), ..about() }.service().is_ok(), "{odd:?}");
        }
    }

    /// Over the network interfaces of this machine.
    #[test]
    fn a_gateway_is_found_while_it_is_announced() {
        let there = Announcement::begin(&About { fingerprint: Some("sha256:AB".into()), ..about() }).unwrap();
        let find = |patience| look(patience).unwrap().into_iter().find(|found| found.url.ends_with(":21777"));
        let found = find(Duration::from_secs(5)).expect("the gateway that is announced");
        assert_eq!((found.url.as_str(), found.host.as_str()), ("wss://box-7.local:21777", "box-7.local"));
        assert_eq!(found.name, "box-7 (OpenClaw 21777)");
        assert!(found.tls_fingerprint.as_deref() == Some("sha256:AB") && !found.addresses.is_empty(), "{found:?}");
        drop(there);
        assert_eq!(find(Duration::from_secs(2)), None, "it is taken back");
    }
}
