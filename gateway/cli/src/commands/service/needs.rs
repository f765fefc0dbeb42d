//! Which variables of this shell the configuration reads: a service starts without them.

use std::{cell::RefCell, collections::BTreeSet};

use openclaw_config::Outside;

use crate::{config_around::Around, config_file, failure::Failure, session::Session};

/// Notes which variables were asked for and were there.
struct Noted<'a> {
    around: Around<'a>,
    found: RefCell<BTreeSet<String>>,
}

impl Outside for Noted<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        let value = self.around.variable(name);
        if value.is_some() {
            self.found.borrow_mut().insert(name.to_owned());
        }
        value
    }
    fn file(&self, path: &str, from: Option<&str>) -> Result<(String, String), String> {
        self.around.file(path, from)
    }
    fn state_file(&self, path: &str) -> Option<String> {
        self.around.state_file(path)
    }
}

/// The variables that the configuration reads, by `${NAME}`, by a reference to a secret or as the key of a provider, with their
/// values in this session.
///
/// # Errors
/// Config: the file is there and cannot be read.
pub fn variables(session: &Session) -> Result<Vec<(String, String)>, Failure> {
    let text = config_file::read(&session.paths.config)?.unwrap_or_default();
    let noted = Noted { around: Around(session), found: RefCell::default() };
    drop(openclaw_config::read(&text, &noted));
    let names = noted.found.into_inner();
    Ok(names.into_iter().filter_map(|name| Some((name.clone(), session.env.get(&name)?.to_owned()))).collect())
}
