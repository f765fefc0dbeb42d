//! Passwords as argon2id hashes: made by `openclaw gateway hash-password`, checked off the async threads, few at a time.

use std::sync::Arc;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use openclaw_config::Secret;
use openclaw_platform::{Entropy, Spawner, SpawnerExt as _};
use tokio::sync::Semaphore;

use crate::limits::{PASSWORD_CHECKS, PASSWORD_MEMORY_KIB, PASSWORD_PASSES, PASSWORD_TEXT};

/// Why a hash cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Not the form `$argon2id$v=19$m=...,t=...,p=...$salt$hash`.
    #[error("is not an argon2id hash as `openclaw gateway hash-password` makes it")]
    Form,
    /// Every attempt to sign in would cost as much.
    #[error("costs too much: at most m={PASSWORD_MEMORY_KIB} and t={PASSWORD_PASSES} are allowed")]
    Cost,
    /// Empty, or longer than anyone types.
    #[error("expected a password of 1 to {PASSWORD_TEXT} bytes")]
    Length,
}

/// True for a configured password that is a hash.
pub fn is_hash(secret: &Secret) -> bool {
    secret.expose().starts_with("$argon2")
}

/// The argon2id hash (PHC string) of a password, with a fresh salt and the library's recommended costs.
///
/// # Errors
/// [`PasswordError::Length`].
pub fn hash_password(entropy: &dyn Entropy, password: &str) -> Result<String, PasswordError> {
    if password.is_empty() || password.len() > PASSWORD_TEXT {
        return Err(PasswordError::Length);
    }
    let mut salt = [0; 16];
    entropy.fill(&mut salt);
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    hash.map(|h| h.to_string()).map_err(|_| PasswordError::Form)
}

/// Is this hash one that can be checked at a bearable cost?
///
/// # Errors
/// [`PasswordError`].
pub fn check_hash(secret: &Secret) -> Result<(), PasswordError> {
    let hash = PasswordHash::new(secret.expose()).map_err(|_| PasswordError::Form)?;
    let params = argon2::Params::try_from(&hash).map_err(|_| PasswordError::Form)?;
    if hash.algorithm.as_str() != "argon2id" || hash.hash.is_none() || hash.salt.is_none() {
        return Err(PasswordError::Form);
    }
    let dear = params.m_cost() > PASSWORD_MEMORY_KIB || params.t_cost() > PASSWORD_PASSES || params.p_cost() > 16;
    if dear { Err(PasswordError::Cost) } else { Ok(()) }
}

/// Checks passwords, a few at a time: memory and processor time of strangers' guesses are bounded.
pub struct Passwords {
    tasks: Arc<dyn Spawner>,
    turns: Arc<Semaphore>,
}

impl Passwords {
    /// A checker on these tasks.
    pub fn new(tasks: Arc<dyn Spawner>) -> Self {
        Self { tasks, turns: Arc::new(Semaphore::new(PASSWORD_CHECKS)) }
    }

    /// True when `given` has the hash `secret`. `still` is asked once the turn has come, right before the work: whoever
    /// sent many guesses at once is stopped by the failures of the first.
    pub async fn fits(&self, secret: &Secret, given: &str, still: impl FnOnce() -> bool) -> bool {
        if given.len() > PASSWORD_TEXT {
            return false;
        }
        let Ok(turn) = self.turns.clone().acquire_owned().await else { return false };
        if !still() {
            return false;
        }
        let (hash, given) = (secret.clone(), Secret::new(given));
        let work = self.tasks.blocking(move || {
            let parsed = PasswordHash::new(hash.expose());
            parsed.is_ok_and(|h| Argon2::default().verify_password(given.expose().as_bytes(), &h).is_ok())
        });
        let fits = work.await.unwrap_or(false);
        drop(turn);
        fits
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::os::{OsEntropy, OsSpawner};

    use super::*;

    #[tokio::test]
    async fn a_hash_fits_its_password_and_no_other() {
        let hash = Secret::new(hash_password(&OsEntropy, "correct horse").unwrap());
        assert!(is_hash(&hash) && check_hash(&hash).is_ok());
        let passwords = Passwords::new(Arc::new(OsSpawner));
        assert!(passwords.fits(&hash, "correct horse", || true).await);
        assert!(!passwords.fits(&hash, "correct horse", || false).await, "too late");
        for wrong in ["", "correct hors", hash.expose()] {
            assert!(!passwords.fits(&hash, wrong, || true).await, "{wrong}");
        }
        assert!(matches!(hash_password(&OsEntropy, ""), Err(PasswordError::Length)));
    }

    #[test]
    fn s12_a_hash_must_not_cost_more_than_the_machine_can_bear() {
        let hash = hash_password(&OsEntropy, "p").unwrap();
        assert!(hash.contains("$argon2id$v=19$m="), "{hash}");
        let dear = hash.replacen("m=19456", "m=4194304", 1);
        assert!(matches!(check_hash(&Secret::new(dear)), Err(PasswordError::Cost)));
        for bad in
            ["$argon2id$", "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", "$argon2id$v=19$m=19456"]
        {
            assert!(matches!(check_hash(&Secret::new(bad)), Err(PasswordError::Form)), "{bad}");
        }
    }
}
