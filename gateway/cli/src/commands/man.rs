//! `man DIR`: the manual pages, one for each command, from the same grammar as the help.
#![allow(clippy::disallowed_methods)] // into a directory that a person names

use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;
use serde_json::json;

use crate::{config_file, failure::Failure, output, session::Session};

/// `man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory for the pages; it is made when missing
    dir: PathBuf,
}

/// Writes `openclaw.1`, `openclaw-gateway.1` and so on, out of the program's grammar.
///
/// # Errors
/// Runtime when the disk refuses.
pub fn run(session: &Session, grammar: Command, args: &ManArgs) -> Result<(), Failure> {
    let fail =
        |e: std::io::Error| Failure::Runtime(format!("cannot write manual pages to {}: {e}", args.dir.display()));
    config_file::make_dir(&args.dir).map_err(fail)?;
    let mut command = grammar.disable_help_subcommand(true);
    command.build();
    let mut pages = vec![];
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned());
        let man = Man::new(command);
        let mut text = vec![];
        man.render(&mut text).map_err(fail)?;
        let file = args.dir.join(man.get_filename());
        std::fs::write(&file, text).map_err(fail)?;
        pages.push(file);
    }
    pages.sort();
    if session.out.json {
        return output::json(&json!({ "ok": true, "pages": pages }));
    }
    output::line(format!("Wrote {} manual pages to {}; man -l shows one.", pages.len(), args.dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::session;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let pages = dir.path().join("man1");
        run(&session(dir.path(), false), crate::help::command(), &ManArgs { dir: pages.clone() }).unwrap();
        for (page, word) in [
            ("openclaw.1", "openclaw"),
            ("openclaw-gateway.1", "allow\\-unconfigured"),
            ("openclaw-config-set.1", "PATH"),
        ] {
            let text = std::fs::read_to_string(pages.join(page)).unwrap();
            assert!(text.contains(word) && text.contains(".TH"), "{page}: {text}");
        }
        assert!(!pages.join("openclaw-sandbox-exec.1").exists());
    }
}
