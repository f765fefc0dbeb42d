//! Which addresses a browser may visit (S16): the web, and of this machine and its network only what the configuration opens.

use std::net::IpAddr;

use http::Uri;
use openclaw_config::Browser;
use openclaw_platform::{Transport, public::is_public};

use crate::{BrowserError, limits::ADDRESS_CHARS};

/// The empty page, which is always allowed.
pub const BLANK: &str = "about:blank";

/// What to do about it, for whoever may change the configuration.
pub const HINT: &str = "browser.ssrfPolicy.allowedHostnames opens single names, \
    browser.ssrfPolicy.dangerouslyAllowPrivateNetwork everything";

/// May this host be visited although it is on this machine or in its network?
pub fn is_open(config: &Browser, host: &str) -> bool {
    let policy = &config.ssrf_policy;
    let host = bare(host);
    policy.dangerously_allow_private_network
        || policy.allowed_hostnames.iter().any(|name| bare(name.trim()).eq_ignore_ascii_case(host))
}

/// Is this host one of those that may be visited at all? Without a list all are.
pub fn is_listed(config: &Browser, host: &str) -> bool {
    let policy = &config.ssrf_policy;
    let host = bare(host).to_ascii_lowercase();
    let fits = |pattern: &String| {
        let pattern = pattern.trim().to_ascii_lowercase();
        match pattern.strip_prefix("*.") {
            Some(domain) => !domain.is_empty() && host.ends_with(&format!(".{domain}")),
            None => bare(&pattern) == host,
        }
    };
    let is_named = || policy.allowed_hostnames.iter().any(fits);
    policy.hostname_allowlist.as_ref().is_none_or(|list| list.iter().any(fits) || is_named())
}

/// Without the brackets of an IPv6 address and without the dot of the root.
pub fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.')
}

/// Judges an address that somebody wants to go to, before the browser is told. The guard judges again what the browser then
/// connects to, redirections and parts of pages included: this one only says it sooner and in clear words.
///
/// # Errors
/// [`BrowserError::Invalid`] for what is no address, [`BrowserError::Refused`].
pub async fn judge(transport: &dyn Transport, config: &Browser, address: &str) -> Result<String, BrowserError> {
    let address = address.trim();
    if address == BLANK {
        return Ok(address.to_owned());
    }
    let lower = address.get(..8).unwrap_or(address).to_ascii_lowercase();
    if !lower.starts_with("http://") && !lower.starts_with("https://") {
        return Err(BrowserError::Refused("only http://, https:// and about:blank can be opened".to_owned()));
    }
    if address.chars().count() > ADDRESS_CHARS {
        return Err(BrowserError::invalid(format!("an address may have {ADDRESS_CHARS} characters")));
    }
    let no_address =
        || BrowserError::invalid("`url` is no address; spaces and other letters than ASCII must be escaped");
    // A browser reads a backslash as a slash: the host would be another one than what is judged here.
    if address.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(no_address());
    }
    let whole = address.split('#').next().unwrap_or_default();
    let uri: Uri = whole.parse().map_err(|_| no_address())?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(no_address)?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(BrowserError::Refused("addresses with a user name or password are not opened".to_owned()));
    }
    if !is_listed(config, host) {
        let text = format!("{host} is not on browser.ssrfPolicy.hostnameAllowlist");
        return Err(BrowserError::Refused(openclaw_protocol::display::short(&text, 300)));
    }
    if is_open(config, host) || is_on_the_internet(transport, bare(host)).await {
        return Ok(address.to_owned());
    }
    Err(BrowserError::Refused(format!(
        "{host} is on this machine or in its network, which the browser may not visit; {HINT}"
    )))
}

/// A name without an address is left to the browser, which says so.
async fn is_on_the_internet(transport: &dyn Transport, host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost") {
        return false;
    }
    match host.parse::<IpAddr>() {
        Ok(ip) => is_public(ip),
        Err(_) => match transport.resolve(host).await {
            Ok(found) if !found.is_empty() => found.into_iter().all(is_public),
            _ => !looks_numeric(host),
        },
    }
}

/// `127.1`, `0x7f000001`: names that a browser reads as addresses.
fn looks_numeric(host: &str) -> bool {
    host.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()))
}
