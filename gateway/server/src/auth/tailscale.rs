//! Identities that Tailscale Serve vouches for, checked with `tailscale whois` (protocol-core.md section 8).

use std::{collections::BTreeMap, net::IpAddr, sync::Mutex, time::Duration};

use openclaw_platform::{Command, Mono, Platform};
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

/// What whois said, good until then.
#[derive(Clone)]
struct Answer {
    until: Mono,
    login: Option<String>,
}

/// Asks the local Tailscale who an address is.
pub struct Tailscale {
    answers: Mutex<BTreeMap<IpAddr, Answer>>,
    turns: Semaphore,
}

impl Default for Tailscale {
    fn default() -> Self {
        Self { answers: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
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
        let argv = ["tailscale", "whois", "--json", &ip.to_string()].map(str::to_owned).to_vec();
        let command = Command { argv, program: None, cwd: None, env: vec![], timeout: TIMEOUT, max_output: 64 << 10 };
        let login = match platform.processes.run(command).await {
            Ok(output) if output.code == Some(0) && !output.truncated => {
                serde_json::from_slice::<Whois>(&output.stdout).ok().map(|w| w.user_profile.login_name)
            }
            Ok(output) => {
                tracing::debug!(code = output.code, "tailscale whois");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "tailscale whois");
                None
            }
        };
        let now = platform.clock.mono();
        let until = now + if login.is_some() { KNOWN_FOR } else { FAILED_FOR };
        let mut answers = self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        answers.retain(|_, a| a.until > now);
        if answers.len() < WHOIS_ENTRIES {
            answers.insert(ip, Answer { until, login: login.clone() });
        }
        login
    }

    fn known(&self, ip: IpAddr, now: Mono) -> Option<Answer> {
        let answers = self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        answers.get(&ip).filter(|a| a.until > now).cloned()
    }
}
