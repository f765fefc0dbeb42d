//! `doctor`: what is wrong with this installation and what to do about it. Looking changes nothing; `--fix` puts right
//! what can be put right without losing anything.
//!
//! Each family of checks is a file that gives [`Check`]s; [`run`] puts them in order.

mod backups;
mod check;
mod config;
mod database;
mod exec;
mod files;
mod gateway;
mod people;
mod sandbox;
mod service;

use clap::Args;
use openclaw_config::Masker;
use serde_json::json;

use self::check::{Check, Verdict};
use crate::{
    args::ReadArgs,
    commands::service::machine::Which,
    failure::Failure,
    lock::{self, StateLock},
    output,
    session::Session,
};

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Put right what can be put right without losing anything: permissions of the state directory and its files
    #[arg(long, visible_alias = "repair")]
    fix: bool,
    /// Ask nothing (it never does; for scripts)
    #[arg(long)]
    non_interactive: bool,
    /// Answer every question with yes (there are none; for scripts)
    #[arg(long, short)]
    yes: bool,
    #[arg(long, hide = true)]
    no_workspace_suggestions: bool,
    #[arg(long, hide = true)]
    force: bool,
    #[arg(long, hide = true)]
    deep: bool,
    #[arg(long, hide = true)]
    generate_gateway_token: bool,
    /// Which service.
    #[command(flatten)]
    which: Which,
    /// Which gateway, when one runs on this state directory.
    #[command(flatten)]
    read: ReadArgs,
}

impl DoctorArgs {
    /// What other programs of this name do and this one does not is refused, not passed over.
    fn refused(&self) -> Result<(), Failure> {
        let refuse = |flag, instead| Err(Failure::Usage(format!("doctor {flag} is not in this version: {instead}")));
        if self.force {
            return refuse("--force", "nothing here is overwritten by force; --fix does what loses nothing");
        }
        if self.deep {
            return refuse("--deep", "it looks at this profile's files and gateway, not at other services");
        }
        if self.generate_gateway_token {
            let instead = "`openclaw setup` writes a configuration with a fresh token, `openclaw config set \
                           gateway.auth.token TOKEN` puts one into the file that is there";
            return refuse("--generate-gateway-token", instead);
        }
        Ok(())
    }
}

/// Looks at everything and prints what was found.
///
/// # Errors
/// Usage for flags that are not there; Quiet 1 when something is wrong (warnings count).
pub async fn run(session: &Session, args: &DoctorArgs) -> Result<(), Failure> {
    args.refused()?;
    let checks = look(session, args).await;
    print(session, &checks)?;
    if checks.iter().any(|c| c.verdict.is_problem()) { Err(Failure::Quiet(1)) } else { Ok(()) }
}

async fn look(session: &Session, args: &DoctorArgs) -> Vec<Check> {
    let dir = &session.paths.state_dir;
    let (mut checks, there) = files::state_directory(session, args.fix);
    // While it is held no gateway starts and writes to what is being read.
    let lock = if there { Some(StateLock::take(dir, 0)) } else { None };
    let is_running = matches!(lock, Some(Err(Failure::Temporary(_))));
    checks.extend(config::checks(session, is_running, args.fix));
    checks.extend(people::checks(session));
    if there {
        checks.extend(files::private_files(session, args.fix));
        checks.extend(files::disk(session));
        checks.extend(exec::checks(session));
    }
    checks.extend(sandbox::checks(session));
    checks.extend(service::checks(session, &args.which, args.fix).await);
    match &lock {
        None => {}
        Some(Ok(_)) => checks.extend(database::checks(session)),
        Some(Err(Failure::Temporary(_))) => {
            let holder = lock::holder(dir);
            checks.push(database::in_use(holder.as_ref()));
            checks.extend(gateway::checks(session, holder.as_ref(), &args.read).await);
        }
        Some(Err(other)) => {
            checks.push(Check::error("state.lock", other.to_string(), "see that the file can be written"));
        }
    }
    drop(lock);
    if there {
        checks.extend(backups::checks(session));
    }
    checks
}

fn print(session: &Session, checks: &[Check]) -> Result<(), Failure> {
    let masker = Masker::default();
    let count = |verdict| checks.iter().filter(|c| c.verdict == verdict).count();
    let (errors, warnings) = (count(Verdict::Error), count(Verdict::Warn));
    if session.out.json {
        return output::json(&masker.mask_value(&json!({
            "ok": errors + warnings == 0,
            "configPath": session.paths.config,
            "stateDir": session.paths.state_dir,
            "errors": errors,
            "warnings": warnings,
            "checks": checks,
        })));
    }
    for check in checks {
        output::text(masker.mask(&check.lines()))?;
    }
    output::line(match (errors, warnings) {
        (0, 0) => "Nothing is wrong.".to_owned(),
        _ => format!("{errors} errors, {warnings} warnings."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::session;

    fn args(line: &str) -> DoctorArgs {
        use clap::Parser as _;
        let line = ["openclaw", "doctor"].into_iter().chain(line.split_whitespace());
        let crate::grammar::Command::Doctor(args) = crate::grammar::Cli::try_parse_from(line).unwrap().command else {
            panic!("no doctor")
        };
        *args
    }

    #[tokio::test]
    async fn d31_flags_that_are_not_there_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for flag in ["--force", "--deep", "--generate-gateway-token"] {
            let failure = run(&session(dir.path(), false), &args(flag)).await.unwrap_err();
            assert!(failure.code() == 2 && failure.to_string().contains(flag), "{failure}");
        }
        args("--repair --yes --non-interactive --no-workspace-suggestions --json");
    }

    /// Looking makes nothing: no directory, no lock, no configuration, under --dev neither.
    #[tokio::test]
    async fn a_look_at_nothing_leaves_nothing() {
        for dev in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let session = session(dir.path(), dev);
            let checks = look(&session, &args("--fix")).await;
            assert!(checks.iter().any(|c| c.id == "config" && c.verdict == Verdict::Warn), "{checks:?}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}
