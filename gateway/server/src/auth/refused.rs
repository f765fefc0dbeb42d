//! Why nobody is let in.

use openclaw_config::AuthMode;

/// Why a sign-in is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many were wrong from there (S03); the lock-out ends after so many milliseconds.
    #[error("unauthorized: too many failed attempts (try again in {} s)", .0.div_ceil(1000))]
    LockedOut(u64),
    /// Its turn did not come (D40).
    #[error("unauthorized: too many wrong credentials on this machine (try again in 1 s)")]
    HeldTooLong,
    /// No secret of the kind that counts was sent.
    #[error("unauthorized: gateway {kind} missing (send connect.params.auth.{kind})", kind = word(*.0))]
    Missing(AuthMode),
    /// The secret is another one.
    #[error(
        "unauthorized: gateway {kind} mismatch (use the gateway.auth.{kind} of the gateway that you connect to)",
        kind = word(*.0)
    )]
    Mismatch(AuthMode),
    /// What the file of the shared secret said before is not known to be in force any more.
    #[error("the gateway cannot read the file of its shared secret now; its log says why")]
    Unreadable,
}

/// The kind of secret, as configuration and `connect` name it.
pub fn word(mode: AuthMode) -> &'static str {
    match mode {
        AuthMode::Token => "token",
        AuthMode::Password => "password",
    }
}
