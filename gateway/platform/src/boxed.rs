//! Futures without a name of their own.

/// A boxed future that can cross threads: what the object-safe seams return.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;
