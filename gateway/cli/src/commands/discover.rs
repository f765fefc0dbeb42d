//! `gateway discover`: gateways on the local network, by multicast DNS.

use clap::Args;

use crate::{failure::Failure, session::Session};

/// `gateway discover`
#[derive(Debug, Args)]
pub struct DiscoverArgs {
    /// Listen for so many milliseconds
    #[arg(long, default_value_t = 3000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub timeout: u64,
}

/// Prints what is found; an empty list is no failure.
///
/// # Errors
/// Runtime: this program was built without it, or the network has no multicast.
#[cfg(feature = "mdns")]
pub fn run(session: &Session, args: &DiscoverArgs) -> Result<(), Failure> {
    use std::time::Duration;

    use serde_json::json;

    use crate::{mdns, output};

    let found = mdns::look(Duration::from_millis(args.timeout))
        .map_err(|e| Failure::Runtime(format!("the local network cannot be asked by multicast DNS: {e}")))?;
    if session.out.json {
        return output::json(&json!({ "service": mdns::SERVICE, "gateways": found }));
    }
    if found.is_empty() {
        return output::line(
            "No gateway was heard. Those that listen on this machine alone say nothing, and others need the feature mdns.",
        );
    }
    for gateway in found {
        output::line(format!("{}  {}", gateway.url, gateway.name))?;
        if let Some(fingerprint) = gateway.tls_fingerprint {
            output::line(format!("    it says that its certificate is {fingerprint}: compare that with its owner's"))?;
        }
    }
    Ok(())
}

#[cfg(not(feature = "mdns"))]
pub fn run(_: &Session, _: &DiscoverArgs) -> Result<(), Failure> {
    let text = "this program was built without multicast DNS (cargo build --features mdns); --url names a gateway, and \
                `tailscale status` or the router shows machines";
    Err(Failure::Runtime(text.to_owned()))
}
