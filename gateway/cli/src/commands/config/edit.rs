//! `config edit`: the file in a person's editor. What is written there takes the file's place when it is sound, and is never lost.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a command starts the person's own editor

use std::{
    fs::{self, OpenOptions},
    io::{IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use openclaw_config::change::{Edit, change};

use super::change::{effect, next, told};
use crate::{config_around::Around, config_file, failure::Failure, output, session::Session};

/// Until the text is sound or the person gives up.
///
/// # Errors
/// Runtime when there is no editor, or the file was changed meanwhile; Config when the text stays wrong. The text that was written
/// is kept then, and the failure says where.
pub fn run(session: &Session) -> Result<(), Failure> {
    let file = &session.paths.config;
    let before = config_file::read(file)?;
    let named = session.env.get("VISUAL").or_else(|| session.env.get("EDITOR"));
    if named.is_none() && !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "there is no terminal for an editor; name one in $EDITOR, or use `config set`".to_owned(),
        ));
    }
    let editor = named.unwrap_or("vi");
    let draft = Draft::of(file, before.as_deref().unwrap_or("{\n}\n"))?;
    loop {
        draft.open(editor)?;
        let text = draft.text().map_err(|failure| draft.kept(failure))?;
        if before.as_deref() == Some(text.as_str()) || (before.is_none() && text.trim() == "{\n}") {
            draft.remove();
            return output::line(format!("Nothing is changed in {}.", file.display()));
        }
        match put(session, before.as_deref(), text) {
            Ok(next) => {
                draft.remove();
                return output::line(format!("{} is changed.{next}", file.display()));
            }
            Err(failure @ Failure::Config(_)) if wants_again(&failure) => {}
            Err(failure) => return Err(draft.kept(failure)),
        }
    }
}

/// Puts the text in the file's place, if it still is what was shown.
fn put(session: &Session, before: Option<&str>, text: String) -> Result<&'static str, Failure> {
    let (file, around) = (&session.paths.config, Around(session));
    config_file::change(file, |old| {
        if old != before {
            return Err(Failure::Runtime(format!("{} was changed by another program meanwhile", file.display())));
        }
        let old = old.unwrap_or_default();
        let changed = change(old, &Edit::Replace(text), &around).map_err(|refused| told(file, refused))?;
        let effect = openclaw_config::read(old, &around).ok().zip(changed.loaded).map(|(a, b)| effect(&a, &b));
        Ok((Some(changed.text), effect.map_or("", |(effect, mode)| next(&effect, mode))))
    })
}

/// Asks a person at a terminal; nobody else can answer, and no answer is a no.
fn wants_again(failure: &Failure) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    output::note(failure.to_string());
    eprint!("Edit again? [Y/n] ");
    let mut answer = String::new();
    let is_answered = std::io::stdin().read_line(&mut answer).is_ok_and(|read| read > 0);
    is_answered && !answer.trim().to_lowercase().starts_with('n')
}

/// The text under work, beside the file and as private as it.
struct Draft {
    path: PathBuf,
    /// What it was at first.
    shown: String,
}

impl Draft {
    fn of(file: &Path, text: &str) -> Result<Self, Failure> {
        let path = config_file::suffixed(file, &format!(".edit-{}.json5", std::process::id()));
        let write = |path: &Path| {
            if let Some(dir) = path.parent() {
                config_file::make_dir(dir)?;
            }
            let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            made.write_all(text.as_bytes())
        };
        let draft = Self { path, shown: text.to_owned() };
        match write(&draft.path) {
            Ok(()) => Ok(draft),
            Err(e) => {
                draft.remove();
                Err(Failure::Runtime(format!("cannot write {}: {e}", draft.path.display())))
            }
        }
    }

    /// As git starts it: the variable may hold options.
    fn open(&self, named: &str) -> Result<(), Failure> {
        let ended = Command::new("/bin/sh").args(["-c", &format!("{named} \"$1\""), "sh"]).arg(&self.path).status();
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.kept(Failure::Runtime(format!("the editor `{named}` ended with {status}")))),
            Err(e) => Err(self.kept(Failure::Runtime(format!("cannot start the editor `{named}`: {e}")))),
        }
    }

    fn text(&self) -> Result<String, Failure> {
        let read = config_file::read(&self.path)?;
        read.ok_or_else(|| Failure::Runtime(format!("the editor has removed {}", self.path.display())))
    }

    fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }

    /// The failure, and where the text is; one that is as it was is not worth keeping.
    fn kept(&self, failure: Failure) -> Failure {
        if self.text().is_ok_and(|text| text == self.shown) {
            self.remove();
            return failure;
        }
        let more = |text: String| format!("{text}\nWhat you wrote is kept in {}.", self.path.display());
        match failure {
            Failure::Config(text) => Failure::Config(more(text)),
            Failure::Temporary(text) => Failure::Temporary(more(text)),
            Failure::Runtime(text) => Failure::Runtime(more(text)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::session_with;

    /// An editor that runs this on the file.
    fn edited(text: &str, editor: &str) -> (Result<(), Failure>, String, usize) {
        let dir = tempfile::tempdir().unwrap();
        let session = session_with(dir.path(), false, &[("EDITOR", editor)]);
        config_file::replace(&session.paths.config, text).unwrap();
        let result = run(&session);
        let names = fs::read_dir(session.paths.config.parent().unwrap()).unwrap();
        let drafts = names.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".edit-")).count();
        (result, config_file::read(&session.paths.config).unwrap().unwrap(), drafts)
    }

    #[test]
    fn what_is_sound_takes_the_files_place_and_what_is_not_is_kept_beside_it() {
        let text = "{ // mine\n gateway: { mode: 'local', port: 1 } }\n";
        let (result, after, drafts) = edited(text, "sed -i s/1/4242/");
        assert_eq!((result, after, drafts), (Ok(()), text.replace("port: 1", "port: 4242"), 0));
        let (result, after, drafts) = edited(text, "true");
        assert_eq!((result, after.as_str(), drafts), (Ok(()), text, 0));
        let (result, after, drafts) = edited(text, "sed -i s/1/many/");
        let failure = result.unwrap_err();
        assert!(failure.code() == 78 && failure.to_string().contains("is kept in"), "{failure}");
        assert_eq!((after.as_str(), drafts), (text, 1));
        let (result, after, drafts) = edited(text, "false");
        assert_eq!((result.unwrap_err().code(), after.as_str(), drafts), (1, text, 0), "nothing was written");
        let (result, _, drafts) = edited(text, "sh -c 'echo >> \"$0\"; exit 3'");
        assert_eq!((result.unwrap_err().code(), drafts), (1, 1));
    }

    #[test]
    fn d21_what_somebody_else_wrote_meanwhile_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = session_with(dir.path(), false, &[]);
        let file = session.paths.config.display().to_string();
        let editor = format!("echo '{{gateway:{{port:7}}}}' > {file}; sed -i s/1/2/");
        session = session_with(dir.path(), false, &[("EDITOR", editor.as_str())]);
        config_file::replace(&session.paths.config, "{gateway:{port:1}}").unwrap();
        let failure = run(&session).unwrap_err();
        assert!(failure.to_string().contains("another program"), "{failure}");
        assert_eq!(config_file::read(&session.paths.config).unwrap().unwrap().trim(), "{gateway:{port:7}}");
    }
}
