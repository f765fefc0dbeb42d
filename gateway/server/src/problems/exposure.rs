//! What is open to others: the network, and who may write. What the file states is a note; a credential in the clear is not safe
//! whoever states it.

use std::net::{IpAddr, SocketAddr};

use openclaw_channels::OpenTo;

use super::{Facts, Problem, note, problem};

/// `exposure.network`, `exposure.everybody`, `exposure.groups`.
pub fn find(facts: &Facts<'_>) -> Vec<Problem> {
    let mut found: Vec<Problem> = network(facts).into_iter().collect();
    for about in facts.accounts.iter().filter(|about| about.status.as_ref().is_ok_and(|status| status.enabled)) {
        let (subject, what) =
            (format!("{}/{}", about.channel, about.account), format!("{} {}", about.label, about.account));
        found.extend(about.open_to.iter().map(|open| match open {
            OpenTo::Everybody => {
                let text = format!("{what} answers everybody who writes to it, as its dmPolicy or allowFrom says");
                let fix =
                    "nothing, where that is meant; else set dmPolicy to \"pairing\" and take \"*\" out of allowFrom";
                note("exposure.everybody", &subject, text, fix)
            }
            OpenTo::Groups => {
                let text = format!("{what} answers everybody in groups, as its groupPolicy or a list of people says");
                let fix = "nothing, where that is meant; else set groupPolicy to \"allowlist\" and name people in \
                           groupAllowFrom";
                note("exposure.groups", &subject, text, fix)
            }
        }));
    }
    found
}

/// Other machines can reach it, and without TLS what they send can be read on the way.
fn network(facts: &Facts<'_>) -> Option<Problem> {
    const CODE: &str = "exposure.network";
    let open: Vec<&SocketAddr> = facts.listen.iter().filter(|addr| !is_private(addr.ip())).collect();
    let subject = open.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if open.is_empty() || facts.config.gateway.tls.as_ref().is_some_and(|tls| tls.enabled) {
        return None;
    }
    if !facts.config.gateway.trusted_proxies.is_empty() {
        let text = format!("it listens on {subject} without TLS, for the proxies in gateway.trustedProxies");
        let fix = "see that only those proxies reach the port, and that they serve TLS";
        return Some(note(CODE, &subject, text, fix));
    }
    let text = format!("it listens on {subject} without TLS: tokens and messages can be read on the way");
    let fix = "set gateway.tls.enabled, or gateway.bind to \"loopback\" and come through an SSH tunnel or Tailscale, or put a \
               proxy with TLS before it and name it in gateway.trustedProxies";
    Some(problem(CODE, &subject, text, fix))
}

/// This machine alone, or a network that encrypts by itself: the tailnet's addresses.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64),
        IpAddr::V6(ip) => ip.is_loopback() || ip.segments()[..3] == [0xfd7a, 0x115c, 0xa1e0],
    }
}
