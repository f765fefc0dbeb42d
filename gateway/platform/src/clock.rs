//! Time: monotonic for every timer, wall only for what is shown, stored or signed (known-failures F23).

/// Wall time in milliseconds since the Unix epoch.
pub type Millis = u64;

/// A point on the monotonic clock; virtual under a paused or simulated runtime.
pub type Mono = tokio::time::Instant;

/// Time as the gateway sees it. Sleeping is `tokio::time::sleep`, which follows the same monotonic clock.
pub trait Clock: Send + Sync {
    /// Now, for timers, deadlines and expiries. Never jumps.
    fn mono(&self) -> Mono;
    /// Now in milliseconds since the Unix epoch, for what is shown, stored or signed. May jump.
    fn wall(&self) -> Millis;
}
