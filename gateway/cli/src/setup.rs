//! `openclaw setup`: a first configuration that works at once, never over an existing one. For scripts: nothing is asked but, on a
//! terminal, what commands of agents meet (D47).

use std::path::Path;

use openclaw_config::ECHO_MODEL;
use openclaw_platform::{EntropyExt as _, os::OsEntropy};
use serde_json::json;

use crate::{
    config_file,
    failure::Failure,
    onboard::{
        args::{ExecAccess, OnboardArgs},
        ask::{self, Terminal},
        ask_exec_access, exec_settings,
        settings::{applied, setting},
    },
    output, profile_ports,
    session::Session,
};

/// Bytes of randomness in a token.
pub const TOKEN_BYTES: usize = 24;

/// Writes the configuration (with a fresh token) and makes the workspace.
///
/// # Errors
/// When the disk refuses.
pub fn run(session: &Session, args: &OnboardArgs) -> Result<(), Failure> {
    let paths = &session.paths;
    let is_new = config_file::read(&paths.config)?.is_none();
    let mut access = args.exec_access;
    if is_new && access.is_none() && !session.out.json && ask::is_terminal() {
        access = Some(ask_exec_access(&mut Terminal::new(session.out.color))?);
    }
    let created = write(session, args.workspace.as_deref(), access)?;
    if session.out.json {
        return output::json(&json!({
            "ok": true,
            "created": created,
            "configPath": paths.config,
            "stateDir": paths.state_dir,
        }));
    }
    if !created {
        return output::line(format!("{} is already there; nothing was changed.", paths.config.display()));
    }
    output::text(format!(
        "Wrote {} with a fresh token and the built-in model {ECHO_MODEL}, which repeats what it is told.\n\
         Start the gateway:  {1} gateway\n\
         Talk to it:         {1} agent --message hi",
        paths.config.display(),
        paths.command()
    ))
}

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
