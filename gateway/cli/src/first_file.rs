//! The first configuration: it works at once, and is never written over another one.

use std::path::Path;

use openclaw_config::ECHO_MODEL;
use openclaw_platform::{EntropyExt as _, os::OsEntropy};

use crate::{
    config_file,
    failure::Failure,
    onboard::{
        args::ExecAccess,
        settings::{applied, exec_settings, setting},
    },
    profile_ports,
    session::Session,
};

/// Bytes of randomness in a token.
pub const TOKEN_BYTES: usize = 24;

/// Writes the file unless there is one; true when it did.
///
/// # Errors
/// When the disk refuses.
pub fn write(session: &Session, workspace: Option<&Path>, access: Option<ExecAccess>) -> Result<bool, Failure> {
    let paths = &session.paths;
    let workspace = workspace.map_or_else(
        || paths.default_workspace(),
        |dir| dir.to_str().map_or_else(|| dir.to_owned(), |text| paths.expand(text)),
    );
    let mut settings = vec![setting("gateway.mode", "local")];
    // A profile's ports are its own, derived ones too (manual: several gateways).
    settings.extend(profile_ports::free_base(session, None).map(|port| setting("gateway.port", port)));
    settings.extend([
        setting("gateway.auth.mode", "token"),
        setting("gateway.auth.token", OsEntropy.hex(TOKEN_BYTES)),
        setting("agents.defaults.model", ECHO_MODEL),
        setting("agents.defaults.workspace", workspace.display().to_string()),
    ]);
    settings.extend(access.into_iter().flat_map(exec_settings));
    let (text, _) = applied(None, &settings)?;
    let made = config_file::make_dir(&paths.state_dir).and_then(|()| config_file::make_dir(&workspace));
    made.map_err(|e| Failure::Runtime(format!("cannot make {}: {e}", workspace.display())))?;
    config_file::create(&paths.config, &text)
}

#[cfg(test)]
mod tests {
    use openclaw_config::{parse, resolve_model};

    use super::*;
    use crate::tests::session;

    #[test]
    fn d35_a_fresh_file_is_valid_has_a_token_and_answers_without_a_key() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), true);
        assert!(write(&session, None, None).unwrap());
        let text = config_file::read(&session.paths.config).unwrap().unwrap();
        let config = parse(&text, &|_| None).unwrap().config;
        assert_eq!(config.gateway.auth.token.as_ref().unwrap().expose().len(), 48);
        assert_eq!(resolve_model(&config, "main").unwrap().primary.to_string(), ECHO_MODEL);
        let workspace = dir.path().join(".openclaw/workspace-dev");
        assert_eq!(config.agents.defaults.workspace.as_deref(), workspace.to_str());
        assert!(workspace.is_dir());

        assert!(!write(&session, None, Some(ExecAccess::Open)).unwrap());
        assert_eq!(config_file::read(&session.paths.config).unwrap().unwrap(), text);
    }
}
