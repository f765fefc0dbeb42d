//! What the local Tailscale knows: whose an address is (`tailscale whois`, protocol-core.md section 8), and this machine's
//! name in the tailnet (`tailscale status`, S02).

use std::{collections::BTreeMap, net::IpAddr, sync::Mutex, time::Duration};

use openclaw_platform::{Command, Mono, Platform, sync::LockExt as _};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::ServeClaim;
use crate::limits::WHOIS_ENTRIES;

/// How long an answer is believed, and how long a failure.
const KNOWN_FOR: Duration = Duration::from_mins(1);
const FAILED_FOR: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(5);
/// Programs at a time.
const AT_ONCE: usize = 2;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Whois {
    user_profile: UserProfile,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UserProfile {
    login_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    #[serde(rename = "Self")]
    own: OwnMachine,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OwnMachine {
    #[serde(rename = "DNSName")]
    dns_name: String,
}

/// What whois said, good until then.
#[derive(Clone)]
struct Answer {
    until: Mono,
    login: Option<String>,
}

/// This machine's name as status gave it, good until then.
#[derive(Clone)]
struct OwnName {
    until: Mono,
    name: Option<String>,
}

/// Asks the local Tailscale.
pub struct Tailscale {
    answers: Mutex<BTreeMap<IpAddr, Answer>>,
    turns: Semaphore,
    own_name: Mutex<Option<OwnName>>,
    own_name_turn: Semaphore,
}

impl Default for Tailscale {
    fn default() -> Self {
        Self {
            answers: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            own_name: Mutex::default(),
            own_name_turn: Semaphore::new(1),
        }
    }
}

impl Tailscale {
    /// True when Tailscale says that the address is the claimed login's.
    pub async fn confirms(&self, platform: &Platform, claim: &ServeClaim) -> bool {
        let tidy = |login: &str| login.trim().to_lowercase();
        self.login_of(platform, claim.ip).await.is_some_and(|login| tidy(&login) == tidy(&claim.login))
    }

    async fn login_of(&self, platform: &Platform, ip: IpAddr) -> Option<String> {
        if let Some(known) = self.known(ip, platform.clock.mono()) {
            return known.login;
        }
        let _turn = self.turns.acquire().await.ok()?;
        // Somebody else may have asked meanwhile.
        if let Some(known) = self.known(ip, platform.clock.mono()) {
            return known.login;
        }
        let whois = ask::<Whois>(platform, &["whois", "--json", &ip.to_string()], 64 << 10).await;
        let login = whois.map(|w| w.user_profile.login_name);
        let now = platform.clock.mono();
        let until = now + if login.is_some() { KNOWN_FOR } else { FAILED_FOR };
        let mut answers = self.answers.locked();
        answers.retain(|_, a| a.until > now);
        if answers.len() < WHOIS_ENTRIES {
            answers.insert(ip, Answer { until, login: login.clone() });
        }
        login
    }

    /// The name of this machine in its tailnet, in lower case and without the last dot. Tailscale is asked only when a
    /// request came for a name below `.ts.net`, one at a time, and its answer is kept.
    pub async fn own_name(&self, platform: &Platform) -> Option<String> {
        if let Some(known) = self.known_own_name(platform.clock.mono()) {
            return known.name;
        }
        let _turn = self.own_name_turn.acquire().await.ok()?;
        if let Some(known) = self.known_own_name(platform.clock.mono()) {
            return known.name;
        }
        // The answer lists the machines of the tailnet unless told otherwise.
        let status = ask::<Status>(platform, &["status", "--json", "--peers=false"], 1 << 20).await;
        let name = status.map(|s| s.own.dns_name.trim_end_matches('.').to_ascii_lowercase());
        let name = name.filter(|name| name.ends_with(".ts.net"));
        let until = platform.clock.mono() + if name.is_some() { KNOWN_FOR } else { FAILED_FOR };
        let mut own_name = self.own_name.locked();
        *own_name = Some(OwnName { until, name: name.clone() });
        name
    }

    fn known_own_name(&self, now: Mono) -> Option<OwnName> {
        let own_name = self.own_name.locked();
        own_name.clone().filter(|n| n.until > now)
    }

    fn known(&self, ip: IpAddr, now: Mono) -> Option<Answer> {
        let answers = self.answers.locked();
        answers.get(&ip).filter(|a| a.until > now).cloned()
    }
}

/// Runs `tailscale` and reads its JSON; none when it fails, is not there or says something else.
async fn ask<T: serde::de::DeserializeOwned>(platform: &Platform, args: &[&str], max_output: usize) -> Option<T> {
    let argv = std::iter::once("tailscale").chain(args.iter().copied()).map(str::to_owned).collect();
    let command =
        Command { argv, program: None, cwd: None, env: vec![], timeout: TIMEOUT, max_output, confinement: None };
    match platform.processes.run(command).await {
        Ok(output) if output.code == Some(0) && !output.truncated => serde_json::from_slice(&output.stdout).ok(),
        Ok(output) => {
            tracing::debug!(code = output.code, args = args.first(), "tailscale");
            None
        }
        Err(error) => {
            tracing::debug!(%error, args = args.first(), "tailscale");
            None
        }
    }
}
