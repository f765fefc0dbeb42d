//! TLS as a layer over any stream, the same for real and simulated ones. The server's side is in [`server`].

pub mod fingerprint;
mod pinned;
pub mod server;

use std::{io, sync::Arc, time::Duration};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{ServerName, UnixTime},
};

pub use self::{fingerprint::Fingerprint, pinned::Mismatch};
use crate::{BoxIo, Clock as _, os::OsClock};

/// The client side: Mozilla's roots, compiled in, or one certificate; no client certificate. Cloning shares session tickets.
#[derive(Clone)]
pub struct Tls(Arc<rustls::ClientConfig>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// A client with the compiled-in roots.
    pub fn new() -> Self {
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = versions(rustls::ClientConfig::builder_with_details(provider(), Arc::new(Today)));
        Self(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }

    /// A client that takes the one certificate with this fingerprint, whoever has signed it, whatever its names and dates are.
    pub fn pinned(expected: Fingerprint) -> Self {
        let (provider, verifier) = (provider(), pinned::Pinned::new(expected, &provider()));
        let config = versions(rustls::ClientConfig::builder_with_details(provider, Arc::new(Today)));
        let config = config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
        Self(Arc::new(config))
    }

    /// Negotiates TLS over `io` with the server named `host` (a name or an address, IPv6 with or without brackets).
    ///
    /// # Errors
    /// When `host` cannot name a server, or its certificate does not prove it ([`Mismatch::of`], [`is_untrusted`]), or the
    /// stream fails.
    pub async fn connect(&self, host: &str, io: BoxIo) -> io::Result<BoxIo> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
        let stream = tokio_rustls::TlsConnector::from(self.0.clone()).connect(name, io).await?;
        Ok(Box::new(stream))
    }
}

/// True when a handshake failed because of the server's certificate.
pub fn is_untrusted(error: &io::Error) -> bool {
    matches!(reason(error), Some(rustls::Error::InvalidCertificate(_)))
}

fn reason(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// One provider for both sides and for all checks.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS 1.2 and 1.3.
#[allow(clippy::expect_used)] // ring supports the default versions; nothing from outside takes part
fn versions<S: rustls::ConfigSide>(
    builder: rustls::ConfigBuilder<S, rustls::WantsVersions>,
) -> rustls::ConfigBuilder<S, rustls::WantsVerifier> {
    builder.with_safe_default_protocol_versions().expect("ring supports the default TLS versions")
}

/// The time by which certificates are judged. rustls' own panics when the system's clock is before 1970.
#[derive(Debug)]
struct Today;

impl rustls::time_provider::TimeProvider for Today {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(OsClock.wall())))
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::new()
    }
}
