//! Ctrl-C while a question stands on the terminal: the terminal is put back as it was, and the program ends. Nothing was written
//! by then, or all of it.

use std::io::{self, Write as _};

use openclaw_platform::{SpawnerExt as _, os::OsSpawner};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

/// The exit code that shells give a program which Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// Watches for Ctrl-C as long as the program runs; needs a runtime with a thread besides the one that asks.
///
/// # Errors
/// When signals cannot be watched.
pub fn watch() -> io::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let before = tcgetattr(io::stdin()).ok();
    OsSpawner.spawn("interrupt", async move {
        if interrupted.recv().await.is_some() {
            if let Some(before) = before {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
            }
            // A choice hides the cursor.
            let _ = io::stderr().write_all(b"\x1b[?25h\n");
            #[allow(clippy::disallowed_methods)]
            // the thread that asks stands in a read that only ends with the process
            std::process::exit(INTERRUPTED.into());
        }
    });
    Ok(())
}
