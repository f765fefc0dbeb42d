//! The credential in force, and whether somebody has one (protocol-core.md section 8, decisions D8, D9; S03, S04).

use std::sync::{Arc, Mutex, MutexGuard};

use openclaw_config::{AuthMode, STRONG_BITS, Secret, token_bits};
use openclaw_platform::{Platform, sync::LockExt as _};
use openclaw_protocol::connect::AuthParams;
use subtle::ConstantTimeEq as _;

use super::{FailureLimiter, Origin, Passwords, Refused, Tailscale, Turns, is_hash};
use crate::options::{AuthInForce, SharedAuth};

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

/// What `gateway.auth` allows besides the shared secret.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowances {
    /// As configured; unset depends on the mode and on Serve.
    pub tailscale: Option<bool>,
    /// The shared token is good without a device block from elsewhere, too (D8).
    pub deviceless: bool,
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
    /// What the client calls itself: `instanceId`, else `client.id`. For fair turns only (D40); anybody may say it.
    pub instance: &'a str,
}

/// The shared secret in force, and what is needed to check it and everything that may stand for it.
pub struct Credentials {
    in_force: Mutex<(u64, Arc<SharedAuth>)>,
    allowances: Mutex<Allowances>,
    /// Held while the configuration file is looked at: who comes second must not be judged by what was before.
    pub(crate) reading: tokio::sync::Mutex<()>,
    platform: Platform,
    limiter: FailureLimiter,
    turns: Turns,
    passwords: Passwords,
    tailscale: Tailscale,
}

impl Credentials {
    /// With this secret.
    pub fn new(platform: &Platform, auth: AuthInForce) -> Self {
        let allowances = Allowances { tailscale: auth.allow_tailscale, deviceless: auth.allow_deviceless };
        Self {
            in_force: Mutex::new((0, Arc::new(auth.shared))),
            allowances: Mutex::new(allowances),
            reading: tokio::sync::Mutex::default(),
            limiter: FailureLimiter::new(platform.clock.clone()),
            turns: Turns::new(platform.clock.clone()),
            passwords: Passwords::new(platform.tasks.clone()),
            tailscale: Tailscale::default(),
            platform: platform.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Arc<SharedAuth>)> {
        self.in_force.locked()
    }

    /// The secret in force and its generation (changes since the start).
    pub fn in_force(&self) -> (u64, Arc<SharedAuth>) {
        self.lock().clone()
    }

    /// What is allowed besides the shared secret now.
    pub fn allowances(&self) -> Allowances {
        *self.allowances.locked()
    }

    /// Allows something else from now on.
    pub fn allow(&self, allowances: Allowances) {
        *self.allowances.locked() = allowances;
    }

    /// This machine's name in its tailnet (S02).
    pub async fn tailnet_name(&self) -> Option<String> {
        self.tailscale.own_name(&self.platform).await
    }

    /// Puts another one in force. Its generation when it differs from the last; sessions of older ones have to end.
    pub fn swap(&self, shared: SharedAuth) -> Option<u64> {
        let mut held = self.lock();
        let same = held.1.mode == shared.mode && held.1.secret() == shared.secret();
        let generation = if same { held.0 } else { held.0 + 1 };
        *held = (generation, Arc::new(shared));
        (!same).then_some(generation)
    }

    /// Checks what was sent: the device's own token, the shared secret, a Tailscale identity. Whatever is wrong counts:
    /// on this machine towards the pace at which guesses are judged (D40), from elsewhere against the address (S03).
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn admit(&self, who: Admission<'_>) -> Result<Via, Refused> {
        if !who.origin.here {
            return self.admit_from_elsewhere(who).await;
        }
        let via = self.admit_from_here(&who).await?;
        self.turns.signed_in(who.instance);
        Ok(via)
    }

    /// What nobody can guess is judged at once, whatever others tried; the rest waits for a turn.
    async fn admit_from_here(&self, who: &Admission<'_>) -> Result<Via, Refused> {
        let (generation, shared) = self.in_force();
        let token = who.auth.and_then(|a| a.token.as_deref()).unwrap_or_default();
        if !token.is_empty() && (who.own_token)(token) {
            return Ok(Via::Device);
        }
        let given = shared.given(who.auth);
        if token.is_empty() && given.is_none() {
            return Err(Refused::Missing(shared.mode));
        }
        let is_right = |given| shared.secret().is_some_and(|secret| same_secret(secret, given));
        if shared.is_strong() && given.is_some_and(is_right) {
            return Ok(Via::Shared(generation));
        }
        let asked = self.platform.clock.mono();
        let turn = self.turns.turn(who.instance).await?;
        if self.platform.clock.mono() > asked {
            self.platform.probe.sometimes("auth.held_for_its_turn");
        }
        // Another secret may have come into force while it waited.
        let (generation, shared) = self.in_force();
        let Some(given) = shared.given(who.auth) else {
            wrong(turn, who.origin);
            return Err(Refused::Missing(shared.mode));
        };
        if self.fits(&shared, given, || true).await {
            return Ok(Via::Shared(generation));
        }
        self.platform.probe.sometimes("auth.wrong_credential_here");
        wrong(turn, who.origin);
        Err(Refused::Mismatch(shared.mode))
    }

    /// A device block whose signature is wrong. On this machine it is told when its turn comes, and counts (D40); from
    /// elsewhere it is a mistake as any other: nobody guesses a signature.
    ///
    /// # Errors
    /// [`Refused::HeldTooLong`].
    pub async fn wrong_signature(&self, origin: &Origin, instance: &str) -> Result<(), Refused> {
        if origin.here {
            wrong(self.turns.turn(instance).await?, origin);
        }
        Ok(())
    }

    async fn admit_from_elsewhere(&self, who: Admission<'_>) -> Result<Via, Refused> {
        self.limiter.check_address(who.origin)?;
        let (generation, shared) = self.in_force();
        let token = who.auth.and_then(|a| a.token.as_deref()).unwrap_or_default();
        if !token.is_empty() && (who.own_token)(token) {
            return Ok(Via::Device);
        }
        self.limiter.check(who.origin)?;
        let refused = match shared.given(who.auth) {
            None => Refused::Missing(shared.mode),
            Some(given) if self.fits(&shared, given, || self.limiter.check(who.origin).is_ok()).await => {
                return Ok(Via::Shared(generation));
            }
            Some(_) => Refused::Mismatch(shared.mode),
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
            self.platform.probe.sometimes("auth.wrong_credential_elsewhere");
        }
        Err(refused)
    }

    /// `still` is asked right before the work of a hashed password.
    async fn fits(&self, shared: &SharedAuth, given: &str, still: impl FnOnce() -> bool) -> bool {
        match shared.secret() {
            None => false,
            Some(secret) if shared.mode == AuthMode::Password && is_hash(secret) => {
                self.passwords.fits(secret, given, still).await
            }
            Some(secret) => same_secret(secret, given),
        }
    }
}

/// Counts a wrong credential of this machine.
fn wrong(turn: super::Turn<'_>, origin: &Origin) {
    turn.wrong();
    tracing::warn!(ip = %origin.client_ip, "a wrong credential from this machine");
}

/// True when `given` is the secret; takes the same time for every wrong one of the same length.
pub fn same_secret(secret: &Secret, given: &str) -> bool {
    !given.is_empty() && secret.expose().as_bytes().ct_eq(given.as_bytes()).into()
}

impl SharedAuth {
    /// The secret that counts in this mode.
    pub fn secret(&self) -> Option<&Secret> {
        match self.mode {
            AuthMode::Token => self.token.as_ref(),
            AuthMode::Password => self.password.as_ref(),
        }
    }

    /// A token that nobody guesses. A password is what people remember.
    fn is_strong(&self) -> bool {
        let strong = |secret: &Secret| token_bits(secret.expose()) >= STRONG_BITS;
        self.mode == AuthMode::Token && self.token.as_ref().is_some_and(strong)
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
