//! Ways to the gateway that are not as the configuration asks for them.

use std::collections::BTreeMap;

use super::{Problem, problem};
use crate::reach::Way;

/// `tls.notTakenOver`, `tailscale.notPublished`.
pub fn find(failing: &BTreeMap<Way, String>) -> Vec<Problem> {
    let told = failing.iter().map(|(way, why)| match way {
        Way::Tls => {
            let fix = "put certificate and key right; they are looked at every few seconds, the earlier ones serve until then";
            problem("tls.notTakenOver", "gateway.tls", why, fix)
        }
        Way::Tailscale => {
            let fix = "see `tailscale status`; it is tried again, and the port serves on meanwhile";
            problem("tailscale.notPublished", "gateway.tailscale", why, fix)
        }
    });
    told.collect()
}
