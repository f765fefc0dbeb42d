//! A home directory in which the program is run as a person runs it.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::program::{self, Ran};

/// How long something may take on a busy machine.
const SOON: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);

/// An empty home; dropping it removes it.
pub struct Home {
    /// `$HOME`.
    pub dir: TempDir,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// A new one.
    ///
    /// # Panics
    /// When none can be made.
    pub fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary home") }
    }

    /// A path below it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file below it, and the directories above that.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
        fs::write(path, text).expect("a file can be written");
    }

    /// The program with these arguments and variables in an otherwise empty environment.
    pub fn command(&self, args: &[&str], env: &[(&str, &str)]) -> Command {
        program::command(self.dir.path(), env, args)
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let mut command = self.command(args, env);
        let started = Instant::now();
        let output = command.output().expect("the program can be started");
        Ran::of(&output, started.elapsed())
    }

    /// Starts something that goes on running.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, args: &[&str], env: &[(&str, &str)]) -> Running {
        let name = format!("out-{}", std::process::id()) + &args.concat().replace(['/', ' '], "_");
        let (out, err) = (self.path(&name), self.path(&format!("{name}.err")));
        let file = |path: &PathBuf| File::create(path).expect("an output file");
        let mut command = self.command(args, env);
        let child = command.stdout(file(&out)).stderr(file(&err)).spawn().expect("the program can be started");
        Running { child, out, err }
    }

    /// Starts a gateway and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    pub async fn gateway(&self, args: &[&str], env: &[(&str, &str)]) -> Running {
        let mut running = self.start(args, env);
        running.until("ready after").await;
        running
    }
}

/// A program that runs; dropping it kills it.
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output.
    pub fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it wrote to standard error.
    pub fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// True while it is there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it is not there any more.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process can be signalled");
    }

    /// Waits until its output has `text`.
    ///
    /// # Panics
    /// When it ends before that, or takes too long.
    pub async fn until(&mut self, text: &str) {
        let started = Instant::now();
        while !self.out().contains(text) {
            let told = || format!("{text:?}\n{}\n{}", self.out(), self.err());
            assert!(started.elapsed() < SOON, "not within {SOON:?}: {}", told());
            let is_over = self.child.try_wait().is_ok_and(|status| status.is_some());
            assert!(
                !is_over || self.out().contains(text),
                "it ended before it said {}\n{}\n{}",
                text,
                self.out(),
                self.err()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the state of the process") {
                return status;
            }
            assert!(started.elapsed() < SOON, "still running: {}\n{}", self.out(), self.err());
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
