//! Questions to a person: a trait, so that tests answer them, and the terminal behind it.

use std::io::{self, IsTerminal as _};

use dialoguer::{
    Confirm, Input, Password, Select,
    console::Term,
    theme::{ColorfulTheme, SimpleTheme, Theme},
};
use openclaw_protocol::display;

use super::interrupt::INTERRUPTED;
use crate::{failure::Failure, output};

/// Asks a person. Each fails when there is nobody to answer any more.
pub trait Ask {
    /// One of `items`; `default` is what Enter takes.
    fn select(&mut self, what: &str, items: &[String], default: usize) -> Result<usize, Failure>;
    /// A line of text.
    fn input(&mut self, what: &str, default: &str) -> Result<String, Failure>;
    /// A line that is not shown; may be empty.
    fn secret(&mut self, what: &str) -> Result<String, Failure>;
    /// Yes or no.
    fn confirm(&mut self, what: &str, default: bool) -> Result<bool, Failure>;
    /// Tells something.
    fn say(&mut self, text: &str);
}

/// True when questions can be answered: both what is read and what is shown is a terminal.
pub fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The terminal. Questions go to standard error, so that standard output has the result alone.
pub struct Terminal {
    term: Term,
    theme: Box<dyn Theme>,
}

impl Terminal {
    /// With colours where they are wanted.
    pub fn new(color: bool) -> Self {
        let theme: Box<dyn Theme> = if color { Box::new(ColorfulTheme::default()) } else { Box::new(SimpleTheme) };
        Self { term: Term::stderr(), theme }
    }
}

fn ended(error: dialoguer::Error) -> Failure {
    let dialoguer::Error::IO(error) = error;
    match error.kind() {
        io::ErrorKind::Interrupted => {
            // A choice hides the cursor.
            let _ = Term::stderr().show_cursor();
            Failure::Quiet(INTERRUPTED)
        }
        _ => Failure::Runtime(format!("nobody answers any more ({error}); nothing was changed by this question")),
    }
}

impl Ask for Terminal {
    fn select(&mut self, what: &str, items: &[String], default: usize) -> Result<usize, Failure> {
        let select = Select::with_theme(&*self.theme).with_prompt(what).items(items).default(default);
        select.interact_on(&self.term).map_err(ended)
    }

    fn input(&mut self, what: &str, default: &str) -> Result<String, Failure> {
        let mut input = Input::<String>::with_theme(&*self.theme).with_prompt(what).allow_empty(true);
        if !default.is_empty() {
            input = input.default(default.to_owned());
        }
        input.interact_text_on(&self.term).map(|text| text.trim().to_owned()).map_err(ended)
    }

    fn secret(&mut self, what: &str) -> Result<String, Failure> {
        let secret = Password::with_theme(&*self.theme).with_prompt(what).allow_empty_password(true).report(false);
        let secret = secret.interact_on(&self.term).map(|text| text.trim().to_owned()).map_err(ended)?;
        // Whether there is one may be seen, not how long it is.
        self.say(&format!("{what}: {}", if secret.is_empty() { "none" } else { "********" }));
        Ok(secret)
    }

    fn confirm(&mut self, what: &str, default: bool) -> Result<bool, Failure> {
        let confirm = Confirm::with_theme(&*self.theme).with_prompt(what).default(default);
        confirm.interact_on(&self.term).map_err(ended)
    }

    fn say(&mut self, text: &str) {
        output::note(display::lines(text));
    }
}

/// Answers written down before, in the order of the questions.
#[cfg(test)]
pub struct Scripted {
    /// What is answered next: the beginning of the question, and the answer.
    pub answers: std::collections::VecDeque<(&'static str, String)>,
    /// What was asked and told.
    pub told: Vec<String>,
}

#[cfg(test)]
impl Scripted {
    pub fn new(answers: &[(&'static str, &str)]) -> Self {
        Self { answers: answers.iter().map(|(what, answer)| (*what, (*answer).to_owned())).collect(), told: vec![] }
    }

    fn next(&mut self, what: &str) -> Result<String, Failure> {
        self.told.push(what.to_owned());
        match self.answers.pop_front() {
            Some((expected, answer)) => {
                assert!(what.starts_with(expected), "asked {what:?}, expected {expected:?}");
                Ok(answer)
            }
            // Somebody pressed Ctrl-C.
            None => Err(Failure::Quiet(130)),
        }
    }
}

#[cfg(test)]
impl Ask for Scripted {
    fn select(&mut self, what: &str, items: &[String], default: usize) -> Result<usize, Failure> {
        let answer = self.next(what)?;
        if answer.is_empty() {
            return Ok(default);
        }
        Ok(items.iter().position(|item| item.starts_with(&answer)).unwrap_or_else(|| panic!("{answer} in {items:?}")))
    }
    fn input(&mut self, what: &str, default: &str) -> Result<String, Failure> {
        self.next(what).map(|answer| if answer.is_empty() { default.to_owned() } else { answer })
    }
    fn secret(&mut self, what: &str) -> Result<String, Failure> {
        self.next(what)
    }
    fn confirm(&mut self, what: &str, default: bool) -> Result<bool, Failure> {
        self.next(what).map(|answer| if answer.is_empty() { default } else { answer == "yes" })
    }
    fn say(&mut self, text: &str) {
        self.told.push(text.to_owned());
    }
}
