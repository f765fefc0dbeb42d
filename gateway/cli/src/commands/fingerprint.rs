//! `gateway fingerprint`: the certificate of this profile's gateway, for those who connect from elsewhere.

use serde_json::json;

use crate::{
    config_file::{self, State},
    failure::Failure,
    output,
    session::Session,
    tls::TlsFiles,
};

/// Prints it. Nothing is connected to: it is read from the file, so that nobody on the way can put in another one.
///
/// # Errors
/// Config: the configuration cannot be used, or the port speaks no TLS; Runtime: there is no certificate (yet).
pub fn run(session: &Session) -> Result<(), Failure> {
    let config = match config_file::load(session)? {
        State::Valid(loaded) => loaded.config,
        State::Invalid(problems) => return Err(Failure::problems(&session.paths.config, &problems)),
    };
    let files = TlsFiles::of(&session.paths, &config).ok_or_else(|| {
        let command = session.paths.command();
        Failure::Config(format!(
            "the gateway of this profile speaks no TLS; `{command} config set gateway.tls.enabled true` turns it on"
        ))
    })?;
    let fingerprint = files.fingerprint().map_err(Failure::Runtime)?.to_string();
    if session.out.json {
        return output::json(&json!({ "fingerprint": fingerprint, "certPath": files.certificate }));
    }
    output::line(fingerprint)
}
