//! The credential in force, and whether somebody has one (protocol-core.md section 8, decisions D8, D9; S03, S04).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openclaw_config::{AuthMode, Secret};
use openclaw_platform::Platform;
use openclaw_protocol::{connect::AuthParams, error::ErrorShape};
use subtle::ConstantTimeEq as _;

use super::{FailureLimiter, Origin, Passwords, Tailscale, is_hash};
use crate::options::SharedAuth;

/// With what a connection signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The shared secret of this generation; a new secret ends the connection (S04).
    Shared(u64),
    /// The device's own token.
    Device,
    /// An identity that Tailscale confirmed.
    Tailscale,
}

/// What counts when somebody signs in.
pub struct Admission<'a> {
    /// Where from.
    pub origin: &'a Origin,
    /// What was sent.
    pub auth: Option<&'a AuthParams>,
    /// Is this token the device's own? Nobody's without a device block.
    pub own_token: &'a (dyn Fn(&str) -> bool + Send + Sync),
    /// A Tailscale identity may stand for the secret.
    pub tailscale: bool,
}

/// The shared secret in force, and what is needed to check it and everything that may stand for it.
pub struct Credentials {
    in_force: Mutex<(u64, Arc<SharedAuth>)>,
    platform: Platform,
    limiter: FailureLimiter,
    passwords: Passwords,
    tailscale: Tailscale,
}

impl Credentials {
    /// With this secret.
    pub fn new(platform: &Platform, shared: SharedAuth) -> Self {
        Self {
            in_force: Mutex::new((0, Arc::new(shared))),
            limiter: FailureLimiter::new(platform.clock.clone()),
            passwords: Passwords::new(platform.tasks.clone()),
            tailscale: Tailscale::default(),
            platform: platform.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Arc<SharedAuth>)> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secret in force, and the how-many-th it is.
    pub fn in_force(&self) -> (u64, Arc<SharedAuth>) {
        self.lock().clone()
    }

    /// Puts another one in force. Its generation when it differs from the last; sessions of older ones have to end.
    pub fn swap(&self, shared: SharedAuth) -> Option<u64> {
        let mut held = self.lock();
        let same = held.1.mode == shared.mode && held.1.secret() == shared.secret();
        let generation = if same { held.0 } else { held.0 + 1 };
        *held = (generation, Arc::new(shared));
        (!same).then_some(generation)
    }

    /// Checks what was sent: the device's own token, the shared secret, a Tailscale identity. Whatever is wrong counts
    /// against the address, and a lock-out is told before anything is looked at (S03).
    ///
    /// # Errors
    /// `unauthorized: ...`; when there is something to wait for, `retryAfterMs`.
    pub async fn admit(&self, who: Admission<'_>) -> Result<Via, ErrorShape> {
        self.limiter.check_address(who.origin)?;
        let (generation, shared) = self.in_force();
        let token = who.auth.and_then(|a| a.token.as_deref()).unwrap_or_default();
        if !token.is_empty() && (who.own_token)(token) {
            return Ok(Via::Device);
        }
        self.limiter.check(who.origin)?;
        let refused = match shared.given(who.auth) {
            None => shared.refusal("missing"),
            Some(given) if self.fits(&shared, given, who.origin).await => return Ok(Via::Shared(generation)),
            Some(_) => shared.refusal("mismatch"),
        };
        let mut wrong = !token.is_empty() || shared.given(who.auth).is_some();
        if let Some(claim) = who.origin.serve.as_ref().filter(|_| who.tailscale) {
            if self.tailscale.confirms(&self.platform, claim).await {
                return Ok(Via::Tailscale);
            }
            wrong = true;
        }
        // Others may have failed while this one was looked at.
        self.limiter.check(who.origin)?;
        if wrong {
            self.limiter.failed(who.origin);
        }
        Err(refused)
    }

    async fn fits(&self, shared: &SharedAuth, given: &str, origin: &Origin) -> bool {
        match shared.secret() {
            None => false,
            Some(secret) if shared.mode == AuthMode::Password && is_hash(secret) => {
                self.passwords.fits(secret, given, || self.limiter.check(origin).is_ok()).await
            }
            Some(secret) => same_secret(secret, given),
        }
    }
}

/// True when `given` is the secret; takes the same time for every wrong one of the same length.
pub fn same_secret(secret: &Secret, given: &str) -> bool {
    !given.is_empty() && secret.expose().as_bytes().ct_eq(given.as_bytes()).into()
}

impl SharedAuth {
    fn kind(&self) -> &'static str {
        match self.mode {
            AuthMode::Token => "token",
            AuthMode::Password => "password",
        }
    }

    /// The secret that counts in this mode.
    pub fn secret(&self) -> Option<&Secret> {
        match self.mode {
            AuthMode::Token => self.token.as_ref(),
            AuthMode::Password => self.password.as_ref(),
        }
    }

    /// What was sent for it.
    fn given<'a>(&self, auth: Option<&'a AuthParams>) -> Option<&'a str> {
        let auth = auth?;
        let given = match self.mode {
            AuthMode::Token => &auth.token,
            AuthMode::Password => &auth.password,
        };
        given.as_deref().filter(|s| !s.is_empty())
    }

    /// `unauthorized: gateway token mismatch (...)` and its kin.
    fn refusal(&self, what: &str) -> ErrorShape {
        let kind = self.kind();
        let hint = if what == "missing" {
            format!("send connect.params.auth.{kind}")
        } else {
            format!("use the gateway.auth.{kind} of the gateway that you connect to")
        };
        let code = format!("AUTH_{}_{}", kind.to_uppercase(), what.to_uppercase());
        ErrorShape::invalid(&code, format!("unauthorized: gateway {kind} {what} ({hint})"))
    }

    /// True when the request carries a credential of any kind.
    pub fn offered(&self, auth: Option<&AuthParams>) -> bool {
        let token = auth.is_some_and(|a| a.token.as_deref().is_some_and(|s| !s.is_empty()));
        token || self.given(auth).is_some()
    }

    /// Can this be checked at a bearable cost?
    ///
    /// # Errors
    /// What is wrong with a hashed password.
    pub fn validate(&self) -> Result<(), super::PasswordError> {
        match self.password.as_ref().filter(|p| is_hash(p)) {
            Some(hash) => super::password::check_hash(hash),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_compare_whole() {
        let s = Secret::new("abc");
        assert!(same_secret(&s, "abc"));
        for wrong in ["", "ab", "abcd", "abd"] {
            assert!(!same_secret(&s, wrong), "{wrong}");
        }
        assert!(!same_secret(&Secret::new(""), ""));
    }
}
