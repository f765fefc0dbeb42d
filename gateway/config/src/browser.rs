//! `browser`: the browsers that agents and operators use (docs/browser.md).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;

/// `browser`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Browser {
    /// There is a control service, and agents may use a browser.
    pub enabled: bool,
    /// Code may be run in pages.
    pub evaluate_enabled: bool,
    /// The program; unset: the first Chromium that is found.
    pub executable_path: Option<String>,
    /// No window is shown.
    pub headless: bool,
    /// Chromium's own sandbox is off: where the gateway runs as root, or in a container without user namespaces.
    pub no_sandbox: bool,
    /// No browser is started; one that listens at the profile's port is used.
    pub attach_only: bool,
    /// The profile when nobody names one; unset: `openclaw`.
    pub default_profile: Option<String>,
    /// Where the default profile's browser runs, when it is not started here.
    pub cdp_url: Option<String>,
    /// What of this machine and its network may be visited.
    pub ssrf_policy: BrowserSsrfPolicy,
    /// Profiles by name: letters, digits, dashes.
    pub profiles: BTreeMap<String, BrowserProfile>,
}

/// `browser.ssrfPolicy`: the public internet may always be visited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct BrowserSsrfPolicy {
    /// Everything on this machine and in its network may be visited.
    pub dangerously_allow_private_network: bool,
    /// These host names and addresses may be visited, wherever they lead.
    pub allowed_hostnames: Vec<String>,
    /// Only these host names, and those above, may be visited: `example.org`, `*.example.org`; unset: all.
    pub hostname_allowlist: Option<Vec<String>>,
}

/// `browser.profiles.NAME`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct BrowserProfile {
    /// Its DevTools port on this machine; unset: one of those behind the control port, kept over restarts.
    #[serde(deserialize_with = "bounds::port")]
    #[schemars(range(min = 1, max = 65535))]
    pub cdp_port: Option<u16>,
    /// Where its browser runs, when it is not started here.
    pub cdp_url: Option<String>,
}
