//! The server's side: a certificate with its key, which may be replaced while connections are accepted.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::{Fingerprint, Today, provider, versions};
use crate::{
    BoxIo,
    sync::{RwLock, RwLockExt as _},
};

/// Certificates sent at most: the server's own, those between, the authority's.
const MAX_CHAIN: usize = 16;
/// The first byte of a TLS handshake; of no text.
const HANDSHAKE: u8 = 0x16;

/// Why there is no [`Identity`]. Neither text has anything of a key in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate's file.
    #[error("the certificate: {0}")]
    Certificate(String),
    /// The key's file.
    #[error("the key: {0}")]
    Key(String),
    /// The authority's file.
    #[error("the authority's certificate: {0}")]
    Authority(String),
    /// They do not fit.
    #[error("the key is not that of the certificate")]
    Mismatch,
}

/// A certificate with its key.
pub struct Identity {
    config: Arc<rustls::ServerConfig>,
    fingerprint: Fingerprint,
}

impl std::fmt::Debug for Identity {
    /// Says nothing of the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Identity {
    /// From PEM: the certificate (its chain behind it), its key, and the authority's certificates, which are sent behind the chain.
    ///
    /// # Errors
    /// [`IdentityError`]: one of them cannot be read, or they do not fit.
    pub fn from_pem(certificate: &[u8], key: &[u8], authority: Option<&[u8]>) -> Result<Self, IdentityError> {
        let mut chain = certificates(certificate).map_err(IdentityError::Certificate)?;
        let above = authority.map(certificates).transpose().map_err(IdentityError::Authority)?.unwrap_or_default();
        let more: Vec<_> = above.into_iter().filter(|one| !chain.contains(one)).collect();
        chain.extend(more);
        if chain.len() > MAX_CHAIN {
            let text = format!("expected at most {MAX_CHAIN} certificates, found {}", chain.len());
            return Err(IdentityError::Certificate(text));
        }
        let fingerprint = Fingerprint::of(chain.first().map(AsRef::as_ref).unwrap_or_default());
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| IdentityError::Key(expected("a private key", &e)))?;
        let config = versions(rustls::ServerConfig::builder_with_details(provider(), Arc::new(Today)));
        let config = config.with_no_client_auth().with_single_cert(chain, key);
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => IdentityError::Mismatch,
            rustls::Error::InvalidCertificate(why) => IdentityError::Certificate(why.to_string()),
            other => IdentityError::Key(other.to_string()),
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), fingerprint })
    }

    /// What clients may pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// The fingerprint of the first certificate of a PEM file.
///
/// # Errors
/// A sentence: there is none.
pub fn fingerprint_of(pem: &[u8]) -> Result<Fingerprint, String> {
    let all = certificates(pem)?;
    Ok(Fingerprint::of(all.first().map(AsRef::as_ref).unwrap_or_default()))
}

/// All certificates of a PEM text, one at least.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|e| expected("certificates", &e))?;
    if all.is_empty() { Err("expected a certificate in PEM, found none".to_owned()) } else { Ok(all) }
}

/// What a reader of PEM found is not repeated: it may be part of a key.
fn expected(what: &str, error: &rustls::pki_types::pem::Error) -> String {
    let found = match error {
        rustls::pki_types::pem::Error::NoItemsFound => "none",
        _ => "something that is broken",
    };
    format!("expected {what} in PEM, found {found}")
}

/// Why a connection was not accepted.
pub enum AcceptError {
    /// The client speaks no TLS; nothing was said to it yet, and what it sent is still to be read.
    NotTls(BoxIo),
    /// The handshake failed.
    Failed(io::Error),
}

/// Accepts TLS with the identity that is in force.
pub struct TlsServer {
    identity: RwLock<Arc<Identity>>,
}

impl TlsServer {
    /// With this certificate.
    pub fn new(identity: Identity) -> Self {
        Self { identity: RwLock::new(Arc::new(identity)) }
    }

    /// Puts another certificate in force, for connections that are accepted from now on. Others go on.
    pub fn replace(&self, identity: Identity) {
        *self.identity.write_locked() = Arc::new(identity);
    }

    /// Of the certificate in force.
    pub fn fingerprint(&self) -> Fingerprint {
        self.identity.read_locked().fingerprint
    }

    /// Shakes hands with a client. Who calls it bounds how long that may take.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub async fn accept(&self, mut io: BoxIo) -> Result<BoxIo, AcceptError> {
        let mut first = [0];
        io.read_exact(&mut first).await.map_err(AcceptError::Failed)?;
        let io: BoxIo = Box::new(Begun { first: Some(first[0]), io });
        if first[0] != HANDSHAKE {
            return Err(AcceptError::NotTls(io));
        }
        let config = self.identity.read_locked().config.clone();
        let stream = tokio_rustls::TlsAcceptor::from(config).accept(io).await.map_err(AcceptError::Failed)?;
        Ok(Box::new(stream))
    }
}

/// A stream whose first byte has been looked at.
struct Begun {
    first: Option<u8>,
    io: BoxIo,
}

impl AsyncRead for Begun {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buf.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Begun {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
