//! Keeps what a long-running process knows to itself: no core dump, nothing for other programs of the same user to read in
//! `/proc`, and no secret on its command line or in its environment.

use std::{
    ffi::OsString,
    io::{PipeReader, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::Stdio,
};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{
    commands::node::NodeCommand,
    env::{self, Env},
    grammar::{Command, GatewayCommand},
    output,
};

/// Set, to its process id, for the program that was started again: its standard input has what was taken out of sight.
const MARK: &str = "OPENCLAW_SECRETS_ON_STDIN";
/// Names under which typed secrets stand in the [`Env`] of the program that was started again.
const TYPED_TOKEN: &str = "--token";
const TYPED_PASSWORD: &str = "--password";
/// Bytes of all secrets: a pipe holds more than that before anybody reads it.
const MAX: usize = 16 << 10;

/// No core dump, and no look into this process for others of the same user: both would hold the token.
pub fn close() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        output::note(format!("a core dump of this process may hold its secrets: {error}"));
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        output::note(format!("other programs of this user may read this process's memory: {error}"));
    }
}

/// The secrets that a process list and `/proc/PID/environ` would show: those typed with a command that goes on running,
/// and the gateway's own in the environment.
fn in_sight(command: &Command, env: &Env) -> Vec<(&'static str, String)> {
    let (token, password) = typed(command);
    let typed = [(TYPED_TOKEN, token), (TYPED_PASSWORD, password)];
    let typed = typed.into_iter().filter_map(|(name, value)| Some((name, value.cloned()?)));
    let inherited = [env::TOKEN, env::PASSWORD].into_iter().filter_map(|name| Some((name, env.get(name)?.to_owned())));
    typed.chain(inherited).collect()
}

fn typed(command: &Command) -> (Option<&String>, Option<&String>) {
    match command {
        Command::Gateway(args) => match &args.command {
            None => (args.run.token.as_ref(), args.run.password.as_ref()),
            Some(GatewayCommand::Run(run)) => (run.token.as_ref(), run.password.as_ref()),
            Some(_) => (None, None),
        },
        Command::Node { command: NodeCommand::Run(args) } => {
            (args.connection.token.as_ref(), args.connection.password.as_ref())
        }
        _ => (None, None),
    }
}

/// True for the commands that go on running.
pub fn serves(command: &Command) -> bool {
    match command {
        Command::Gateway(args) => matches!(args.command, None | Some(GatewayCommand::Run(_))),
        Command::Node { command: NodeCommand::Run(_) } => true,
        _ => false,
    }
}

/// Starts the program again, in this same process, without the secrets that others can see; it reads them from its
/// standard input. Returns only when there are none, or when that cannot be done, which it says.
pub fn start_again(command: &Command, env: &Env) {
    let secrets = in_sight(command, env);
    if secrets.is_empty() || is_again(env.get(MARK)) {
        return;
    }
    let text: Vec<String> = secrets.iter().map(|(name, value)| format!("{name}={value}\0")).collect();
    let Err(error) = again(&text.concat());
    let names: Vec<&str> = secrets.iter().map(|(name, _)| *name).collect();
    output::note(format!(
        "{}: others on this machine can see it ({error}); put it into the configuration or a file (--token-file)",
        names.join(", ")
    ));
}

/// True for the mark of this very process: one that came down from a parent says nothing about this standard input.
fn is_again(mark: Option<&str>) -> bool {
    mark.is_some_and(|pid| pid == std::process::id().to_string())
}

#[allow(clippy::disallowed_types)] // this very process, not a child
fn again(text: &str) -> std::io::Result<std::convert::Infallible> {
    let (reader, mut writer): (PipeReader, _) = std::io::pipe()?;
    if text.len() > MAX {
        return Err(std::io::Error::other(format!("more than {MAX} bytes")));
    }
    writer.write_all(text.as_bytes())?;
    drop(writer);
    let mut program = std::process::Command::new(std::env::current_exe()?);
    program.args(without_secrets(std::env::args_os().skip(1)));
    program
        .env(MARK, std::process::id().to_string())
        .env_remove(env::TOKEN)
        .env_remove(env::PASSWORD)
        .stdin(Stdio::from(reader));
    Err(program.exec())
}

/// The command line without `--token X`, `--token=X` and their like.
fn without_secrets(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut kept = vec![];
    let mut is_value = false;
    for arg in args {
        let text = arg.to_string_lossy();
        let hidden = [TYPED_TOKEN, TYPED_PASSWORD].iter().any(|name| text.starts_with(&format!("{name}=")));
        let is_flag = text == TYPED_TOKEN || text == TYPED_PASSWORD;
        if !std::mem::replace(&mut is_value, is_flag) && !is_flag && !hidden {
            kept.push(arg);
        }
    }
    kept
}

/// Takes the secrets that [`start_again`] took out of sight, if this program was started again; they become variables that
/// only this program knows.
///
/// # Errors
/// When they cannot be read as text.
pub fn receive(env: &mut Env) -> std::io::Result<()> {
    if is_again(env.take(MARK).as_deref()) {
        env.add(received()?);
    }
    Ok(())
}

/// What [`start_again`] left on the standard input.
fn received() -> std::io::Result<Vec<(String, String)>> {
    let mut text = String::new();
    std::io::stdin().lock().take(MAX as u64).read_to_string(&mut text)?;
    Ok(text.split('\0').filter_map(|line| line.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
}

/// Puts typed secrets back where the command line had them; true when there were any.
pub fn restore(command: &mut Command, env: &Env) -> bool {
    let (token, password) = match command {
        Command::Gateway(args) => match &mut args.command {
            Some(GatewayCommand::Run(run)) => (&mut run.token, &mut run.password),
            _ => (&mut args.run.token, &mut args.run.password),
        },
        Command::Node { command: NodeCommand::Run(args) } => {
            (&mut args.connection.token, &mut args.connection.password)
        }
        _ => return false,
    };
    let mut any = false;
    for (slot, name) in [(token, TYPED_TOKEN), (password, TYPED_PASSWORD)] {
        if let Some(value) = env.get(name) {
            *slot = Some(value.to_owned());
            any = true;
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn command(line: &[&str]) -> Command {
        crate::grammar::Cli::try_parse_from(["openclaw"].iter().chain(line)).unwrap().command
    }

    /// Of the test's own process, which nothing here looks into.
    #[test]
    fn s17_a_closed_process_dumps_no_core_and_lets_nobody_look() {
        close();
        let core = rustix::process::getrlimit(Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
        #[cfg(target_os = "linux")]
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), rustix::process::DumpableBehavior::NotDumpable);
    }

    #[test]
    fn s17_what_a_process_list_shows_is_found_and_left_out() {
        let env = Env::of(&[(env::TOKEN, "from-env"), ("HOME", "/h")]);
        let line = ["gateway", "--port", "5", "--token", "t0", "--password=p0", "--verbose"];
        let found = in_sight(&command(&line), &env);
        assert_eq!(found, [("--token", "t0".into()), ("--password", "p0".into()), (env::TOKEN, "from-env".into())]);
        let kept = without_secrets(line.iter().map(OsString::from));
        assert_eq!(kept, ["gateway", "--port", "5", "--verbose"]);
        let files = ["gateway", "run", "--token-file", "f"];
        assert!(in_sight(&command(&files), &Env::of(&[])).is_empty());
        assert_eq!(without_secrets(files.iter().map(OsString::from)), files);
        assert!(in_sight(&command(&["health", "--token", "t"]), &Env::of(&[])).is_empty(), "over in a moment");
    }

    #[test]
    fn s17_typed_secrets_come_back_as_if_typed() {
        let env = Env::of(&[(TYPED_TOKEN, "t0"), (TYPED_PASSWORD, "p0")]);
        for line in [&["gateway"][..], &["gateway", "run"], &["node", "run"]] {
            let mut command = command(line);
            assert!(serves(&command) && restore(&mut command, &env));
            assert_eq!(typed(&command), (Some(&"t0".to_owned()), Some(&"p0".to_owned())), "{line:?}");
        }
        assert!(!restore(&mut command(&["health"]), &env) && !serves(&command(&["health"])));
    }
}
