//! `openclaw setup`: a first configuration that works at once, never over an existing one. For scripts: nothing is asked but, on a
//! terminal, what commands of agents meet (D47).

use openclaw_config::ECHO_MODEL;
use serde_json::json;

use crate::{
    config_file,
    failure::Failure,
    first_file,
    onboard::{
        args::OnboardArgs,
        ask::{self, Terminal},
        wizard::ask_exec_access,
    },
    output,
    session::Session,
};

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
    let created = first_file::write(session, args.workspace.as_deref(), access)?;
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
