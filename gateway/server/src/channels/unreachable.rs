//! Why a route leads nowhere.

/// Why nothing can be sent along a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// No account of this channel is configured.
    #[error("unsupported channel: {0}")]
    NoAccount(String),
    /// The channel cannot read the target; it says why.
    #[error("{0}")]
    BadTarget(String),
    /// A person has to link the account of the channel with this label first.
    #[error("{0} is not linked on this gateway")]
    NotLinked(String),
}
