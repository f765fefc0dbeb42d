//! A real systemd user manager with a home of its own, where the machine has what that takes.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Ran, binary, left_out};

/// How long one script may take on a busy machine.
const SCRIPT: Duration = Duration::from_mins(2);
/// What `tests/user-manager` ends with where it cannot work.
const MISSING: i32 = 77;

/// The manager, and a shell beside it that runs what it is told. Dropping it ends everything that was started there.
pub struct UserManager {
    home: TempDir,
    child: Child,
    stdin: Option<ChildStdin>,
    ends: Receiver<String>,
    scripts: usize,
}

impl UserManager {
    /// Starts it. `None`, and `name` is said to be skipped and why, where the machine has no systemd, no rights or no namespaces.
    ///
    /// # Panics
    /// When it does not start although it could.
    pub fn start(name: &str) -> Option<Self> {
        let program = binary("openclaw");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("user-manager");
        let home = TempDir::new().expect("a temporary home");
        let log = File::create(home.path().join("user-manager.err")).expect("a log file");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut child = Command::new(script)
            .arg(home.path())
            .args(["bash", "--norc", "-c", r#"while read -r n; do bash "$HOME/script.$n" >"$HOME/out.$n" 2>"$HOME/err.$n" </dev/null; echo "$n $?"; done"#])
            .env_clear()
            .env("PATH", &path)
            .env("OPENCLAW", program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("tests/user-manager can be started");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        let (tx, ends) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tx.send(line).is_err() {
                    return;
                }
            }
        });
        let mut manager = Self { home, child, stdin, ends, scripts: 0 };
        if manager.try_sh("true").is_some() {
            return Some(manager);
        }
        let code = manager.child.wait().expect("its end").code();
        let why = fs::read_to_string(manager.home.path().join("user-manager.err")).unwrap_or_default();
        assert_eq!(code, Some(MISSING), "the user manager does not start: {why}");
        left_out(name, why.trim());
        None
    }

    /// The home directory of everything that runs there.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The state directory of a profile; none is the default one.
    pub fn state(&self, profile: Option<&str>) -> PathBuf {
        self.home().join(profile.map_or(".openclaw".to_owned(), |profile| format!(".openclaw-{profile}")))
    }

    /// Runs a script of bash; `$OPENCLAW` is the program under test.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn sh(&mut self, script: &str) -> Ran {
        let ran = self.try_sh(script);
        ran.unwrap_or_else(|| panic!("no end of the script {script:?}; the manager says: {}", self.log()))
    }

    /// A property of a unit, as `systemctl show` tells it.
    pub fn show(&mut self, unit: &str, property: &str) -> String {
        self.sh(&format!("systemctl --user show {unit} --property {property} --value")).ok().out.trim().to_owned()
    }

    /// Waits until the property is `wanted`.
    ///
    /// # Panics
    /// When that does not come.
    pub fn until(&mut self, unit: &str, property: &str, wanted: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let value = self.show(unit, property);
            if wanted(&value) {
                return value;
            }
            assert!(started.elapsed() < SCRIPT, "{unit} {property} stays {value:?}; the manager says: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the manager and its services say.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home().join("user-manager.log")).unwrap_or_default()
    }

    fn try_sh(&mut self, script: &str) -> Option<Ran> {
        self.scripts += 1;
        let n = self.scripts;
        let file = |name: &str| self.home.path().join(format!("{name}.{n}"));
        fs::write(file("script"), script).expect("a script");
        let started = Instant::now();
        writeln!(self.stdin.as_mut()?, "{n}").ok()?;
        let line = self.ends.recv_timeout(SCRIPT).ok()?;
        let code = line.strip_prefix(&format!("{n} "))?.parse().ok()?;
        let text = |name: &str| fs::read_to_string(file(name)).unwrap_or_default();
        Some(Ran { code, out: text("out"), err: text("err"), took: started.elapsed() })
    }
}

impl Drop for UserManager {
    fn drop(&mut self) {
        // The shell reads its end, and with it all else goes.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
