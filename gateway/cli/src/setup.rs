//! `openclaw setup`: a first configuration that works at once, never over an existing one.

use openclaw_config::ECHO_MODEL;
use openclaw_platform::{EntropyExt as _, os::OsEntropy};
use serde_json::json;

use crate::{args::SetupArgs, config_file, failure::Failure, output, session::Session};

/// Bytes of randomness in a token.
pub const TOKEN_BYTES: usize = 24;

/// Writes the configuration (with a fresh token) and makes the workspace.
///
/// # Errors
/// When the disk refuses.
pub fn run(session: &Session, args: &SetupArgs) -> Result<(), Failure> {
    let created = write(session, args)?;
    let paths = &session.paths;
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
pub fn write(session: &Session, args: &SetupArgs) -> Result<bool, Failure> {
    let paths = &session.paths;
    let workspace = args.workspace.as_ref().map_or_else(
        || paths.default_workspace(),
        |dir| dir.to_str().map_or_else(|| dir.clone(), |text| paths.expand(text)),
    );
    let text = format!(
        "{:#}\n",
        json!({
            "gateway": {
                "mode": "local",
                "auth": { "mode": "token", "token": OsEntropy.hex(TOKEN_BYTES) },
            },
            "agents": { "defaults": { "model": ECHO_MODEL, "workspace": workspace } },
        })
    );
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
        let args = SetupArgs { workspace: None };
        assert!(write(&session, &args).unwrap());
        let text = config_file::read(&session.paths.config).unwrap().unwrap();
        let config = parse(&text, &|_| None).unwrap().config;
        assert_eq!(config.gateway.auth.token.as_ref().unwrap().expose().len(), 48);
        assert_eq!(resolve_model(&config, "main").unwrap().primary.to_string(), ECHO_MODEL);
        let workspace = dir.path().join(".openclaw/workspace-dev");
        assert_eq!(config.agents.defaults.workspace.as_deref(), workspace.to_str());
        assert!(workspace.is_dir());

        assert!(!write(&session, &args).unwrap());
        assert_eq!(config_file::read(&session.paths.config).unwrap().unwrap(), text);
    }
}
