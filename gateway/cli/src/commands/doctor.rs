//! `doctor`: what is wrong with this installation and what to do about it. Looking changes nothing; `--fix` puts right
//! what can be put right without losing anything.
//!
//! Each family of checks is a file that gives [`Check`]s; [`run`] puts them in order.

mod ask;
mod backups;
mod check;
mod config;
mod database;
mod directories;
mod exec;
mod files;
mod gateway;
mod people;
mod port;
mod problems;
mod sandbox;
mod service;
mod tls;
mod token;

use clap::Args;
use openclaw_config::Masker;
use serde_json::json;

use self::{
    ask::Asking,
    check::{Check, Verdict},
};
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
    /// Put right what can be put right without losing anything, and say what was done: permissions of the state directory and
    /// its files, missing directories, keys of earlier versions
    #[arg(long, visible_alias = "repair")]
    fix: bool,
    /// Ask nothing; without a terminal nothing is asked either
    #[arg(long)]
    non_interactive: bool,
    /// Answer every question with yes
    #[arg(long, short)]
    yes: bool,
    /// Put a fresh token into the configuration when the gateway has no secret
    #[arg(long)]
    generate_gateway_token: bool,
    #[arg(long, hide = true)]
    no_workspace_suggestions: bool,
    #[arg(long, hide = true)]
    force: bool,
    #[arg(long, hide = true)]
    deep: bool,
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
        Ok(())
    }

    fn asking(&self, session: &Session) -> Asking {
        Asking::of(self.yes || self.non_interactive || session.out.json)
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
    let asking = args.asking(session);
    // The file is mended before it is judged.
    let moved = if args.fix { config::migrate(session, asking) } else { vec![] };
    let token = args.generate_gateway_token.then(|| token::generate(session, asking));
    let (mut checks, there) = files::state_directory(session, args.fix);
    let left = lock::left_behind(dir);
    // While it is held no gateway starts and writes to what is being read.
    let lock = if there { Some(StateLock::take(dir, 0)) } else { None };
    let is_running = matches!(lock, Some(Err(Failure::Temporary(_))));
    checks.extend(config::checks(session, is_running, args.fix));
    if config::is_client(session) {
        // The gateway is elsewhere: of this machine's own nothing is needed.
        checks.extend(gateway::checks(session, None, &args.read, &checks).await);
        return checks;
    }
    checks.extend(moved);
    checks.extend(token);
    checks.extend(directories::checks(session, is_running, args.fix));
    checks.extend(tls::checks(session));
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
        Some(Ok(_)) => {
            // Taken for this look, it goes with it.
            checks.extend(left.map(|holder| {
                let text =
                    format!("the lock of a gateway that ended without a word ({holder}) was left; it is removed");
                Check::fixed("state.lock", text)
            }));
            checks.extend(database::checks(session));
            checks.extend(port::checks(session).await);
        }
        Some(Err(Failure::Temporary(_))) => {
            let holder = lock::holder(dir);
            checks.push(database::in_use(holder.as_ref()));
            checks.extend(gateway::checks(session, holder.as_ref(), &args.read, &checks).await);
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
            "notes": count(Verdict::Note),
            "fixed": count(Verdict::Fixed),
            "checks": checks,
        })));
    }
    for check in checks {
        output::text(masker.mask(&check.lines()))?;
    }
    let fixed = count(Verdict::Fixed);
    let mended = if fixed > 0 { format!(" {fixed} mended.") } else { String::new() };
    output::line(match (errors, warnings) {
        (0, 0) => format!("Nothing is wrong.{mended}"),
        _ => format!("{errors} errors, {warnings} warnings.{mended}"),
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
        for flag in ["--force", "--deep"] {
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
