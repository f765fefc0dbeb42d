//! The certificate of the gateway's port.

use super::check::Check;
use crate::{
    config_file::{self, State},
    session::Session,
    tls::TlsFiles,
};

/// `gateway.tls`, where the port speaks TLS. What a start would refuse is told with the configuration.
pub fn checks(session: &Session) -> Vec<Check> {
    let id = "gateway.tls";
    let Ok(State::Valid(loaded)) = config_file::load(session) else { return vec![] };
    let Some(files) = TlsFiles::of(&session.paths, &loaded.config) else { return vec![] };
    let Ok(open) = files.check() else { return vec![] };
    let shown = match files.fingerprint() {
        Ok(fingerprint) => Check::ok(id, format!("the port shows the certificate {fingerprint}")),
        Err(why) => Check::note(id, why),
    };
    let told = open.into_iter().map(|text| Check::warn(id, text, "a key that others know proves nothing"));
    std::iter::once(shown).chain(told).collect()
}
