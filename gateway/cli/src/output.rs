//! What goes to the person: text or JSON on stdout. A closed pipe (`| head`) is no failure.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use crate::{args::Global, env::Env, failure::Failure, logging::text::escape_controls};

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

/// One or more lines; control characters from outside are escaped (S18), line ends are kept.
pub fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    raw(&(escape_lines(text.as_ref()) + "\n"))
}

/// A JSON value, indented.
pub fn json(value: &Value) -> Result<(), Failure> {
    raw(&format!("{value:#}\n"))
}

/// A JSON value on one line.
pub fn json_line(value: &Value) -> Result<(), Failure> {
    raw(&format!("{value}\n"))
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

/// A remark for the person that is no part of the result: stderr.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", escape_lines(text.as_ref()));
}

fn escape_lines(text: &str) -> String {
    text.split('\n').map(escape_controls).collect::<Vec<_>>().join("\n")
}
