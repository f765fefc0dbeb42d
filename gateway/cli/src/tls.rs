//! The certificate of the gateway's port on disk: where it is, whether it can be served, and the one that the gateway makes itself.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the files lie where people keep them

mod make;

use std::{
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use openclaw_config::Config;
use openclaw_platform::tls::{
    Fingerprint,
    server::{Identity, IdentityError, fingerprint_of},
};
use openclaw_server::CertificateSource;

use crate::{config_stamp, env::Paths, failure::Failure, regular_file};

/// Longest file of certificates or of a key, bytes.
const MAX: u64 = 1 << 20;

/// Files of `gateway.tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, its chain behind it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority that signed it.
    authority: Option<PathBuf>,
    /// What is missing may be made.
    makes: bool,
}

impl TlsFiles {
    /// Those of this profile; none when the port speaks no TLS.
    pub fn of(paths: &Paths, config: &Config) -> Option<Self> {
        let tls = config.gateway.tls.as_ref().filter(|tls| tls.enabled)?;
        let own = paths.state_dir.join("gateway").join("tls");
        let named =
            |path: &Option<String>, name| path.as_ref().map_or_else(|| own.join(name), |path| paths.expand(path));
        Some(Self {
            certificate: named(&tls.cert_path, "gateway-cert.pem"),
            key: named(&tls.key_path, "gateway-key.pem"),
            authority: tls.ca_path.as_ref().map(|path| paths.expand(path)),
            makes: tls.auto_generate != Some(false),
        })
    }

    /// Where all of them are.
    pub fn paths(&self) -> Vec<String> {
        let all = [Some(&self.certificate), Some(&self.key), self.authority.as_ref()];
        all.into_iter().flatten().map(|path| path.to_string_lossy().into_owned()).collect()
    }

    /// Looks whether a start can serve them, or make what is missing, and changes nothing. Gives what is to be told.
    ///
    /// # Errors
    /// Config: which file, what is wrong with it and what to do.
    pub fn check(&self) -> Result<Vec<String>, Failure> {
        if self.is_to_be_made()? {
            return Ok(vec![]);
        }
        self.read().map_err(Failure::Config)?;
        Ok(self.open_key().into_iter().collect())
    }

    /// Makes what is missing, never over a file that is there (0600, directories 0700). True when it did.
    ///
    /// # Errors
    /// Config as for [`TlsFiles::check`]; Runtime when the disk refuses.
    pub fn make(&self, host: &str) -> Result<bool, Failure> {
        let is_made = self.is_to_be_made()?;
        if is_made {
            make::make(&self.certificate, &self.key, host)?;
        }
        Ok(is_made)
    }

    /// True when a start makes the certificate.
    fn is_to_be_made(&self) -> Result<bool, Failure> {
        let missing = |path: &Path| path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        let (certificate, key) = (self.certificate.display(), self.key.display());
        match (missing(&self.certificate), missing(&self.key)) {
            (false, false) => Ok(false),
            // Also beside a key: a start that was killed between the two files.
            (true, _) if self.makes => Ok(true),
            (true, _) => Err(Failure::Config(format!(
                "gateway.tls.certPath: the certificate {certificate} is not there; put it there, or set gateway.tls.autoGenerate \
                 to true"
            ))),
            (false, true) => Err(Failure::Config(format!(
                "gateway.tls.keyPath: the key {key} is not there, but its certificate {certificate} is; put the key back, or move \
                 the certificate away so that the gateway makes both anew"
            ))),
        }
    }

    /// Says that others may read the key.
    fn open_key(&self) -> Option<String> {
        let mode = self.key.metadata().ok()?.permissions().mode();
        let key = self.key.display();
        (mode & 0o077 != 0).then(|| format!("gateway.tls: others may read the key {key}; `chmod 600 {key}` closes it"))
    }

    /// Of the certificate that a running gateway would show.
    ///
    /// # Errors
    /// For a person: why that is not known, and what to do.
    pub fn fingerprint(&self) -> Result<Fingerprint, String> {
        let path = self.certificate.display();
        let text = read(&self.certificate).map_err(|error| {
            let made = if self.makes { "; the gateway makes it when it starts" } else { "" };
            format!("the gateway's certificate {path} cannot be read: {error}{made}")
        })?;
        fingerprint_of(&text).map_err(|why| format!("the gateway's certificate {path}: {why}"))
    }
}

impl CertificateSource for TlsFiles {
    fn stamp(&self) -> u64 {
        config_stamp::of(&self.certificate, &self.paths())
    }

    fn read(&self) -> Result<Identity, String> {
        let of = |name: &str, path: &Path| {
            read(path).map_err(|e| format!("gateway.tls.{name}: cannot read {}: {e}; put it right", path.display()))
        };
        let (certificate, key) = (of("certPath", &self.certificate)?, of("keyPath", &self.key)?);
        let authority = self.authority.as_ref().map(|path| of("caPath", path)).transpose()?;
        Identity::from_pem(&certificate, &key, authority.as_deref()).map_err(|error| {
            let (certificate, key) = (self.certificate.display(), self.key.display());
            match error {
                IdentityError::Certificate(why) => format!("gateway.tls.certPath: {certificate}: {why}; put it right"),
                IdentityError::Key(why) => format!("gateway.tls.keyPath: {key}: {why}; put it right"),
                IdentityError::Authority(why) => {
                    let path = self.authority.as_deref().unwrap_or(Path::new("")).display();
                    format!("gateway.tls.caPath: {path}: {why}; put it right, or take the key out")
                }
                IdentityError::Mismatch => format!(
                    "gateway.tls: {key} is not the key of {certificate}; put the right pair there, or move both away so that the \
                     gateway makes a pair of its own"
                ),
            }
        })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = vec![];
    regular_file::open(path)?.take(MAX).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
