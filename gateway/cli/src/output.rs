//! What goes to the person: text or JSON on stdout. A closed pipe (`| head`) is no failure.

use std::io::{self, IsTerminal as _, Write as _};

use openclaw_config::Masker;
use openclaw_protocol::display;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::{args::Global, env::Env, failure::Failure};

/// How to print.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// `--json`
    pub json: bool,
    /// Colours are wanted and the terminal has them.
    pub color: bool,
}

impl Output {
    /// Flags, NO_COLOR, and whether stdout is a terminal.
    pub fn new(global: &Global, env: &Env) -> Self {
        let color = !global.no_color && env.get("NO_COLOR").is_none() && io::stdout().is_terminal();
        Self { json: global.json, color: color && env.get("TERM") != Some("dumb") }
    }
}

/// One line, whatever is in it: no name from outside makes a second one or hides a part (S31).
pub fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    raw(&format!("{}\n", display::line(text.as_ref())))
}

/// Rows of a table or a report, each of them one line as by [`line()`].
pub fn rows<T: AsRef<str>>(rows: impl IntoIterator<Item = T>) -> Result<(), Failure> {
    rows.into_iter().try_for_each(line)
}

/// Text that is meant to have several lines: an agent's answer, a value of the configuration. What is not visible is
/// escaped, line ends are not: never for a row with anybody's name in it.
pub fn text(text: impl AsRef<str>) -> Result<(), Failure> {
    raw(&format!("{}\n", display::lines(text.as_ref())))
}

/// A JSON value, indented.
pub fn json(value: &Value) -> Result<(), Failure> {
    raw(&format!("{}\n", display::json(&format!("{value:#}"))))
}

/// A JSON value on one line.
pub fn json_line(value: &Value) -> Result<(), Failure> {
    raw(&format!("{}\n", display::json(&value.to_string())))
}

/// Text of the program's own, as it is.
pub fn raw(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Quiet(0)),
        Err(e) => Err(Failure::Runtime(format!("cannot write to stdout: {e}"))),
        Ok(()) => Ok(()),
    }
}

/// True when nobody can read stdout any more: the reader of its pipe has ended, or the terminal is gone. A write would say so, too, but
/// who follows something quiet writes nothing.
pub fn is_gone() -> bool {
    let out = io::stdout();
    let mut watched = [PollFd::new(&out, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut watched, Some(&now)).is_ok() && watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// A remark for the person that is no part of the result: stderr. Addresses in it lose their passwords (S34).
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", display::lines(&Masker::default().mask(text.as_ref())));
}
