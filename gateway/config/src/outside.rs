//! What a configuration reads besides its own text.

/// The world around the file, handed in: this crate reads nothing itself.
pub trait Outside {
    /// A variable of the process environment.
    fn variable(&self, name: &str) -> Option<String>;

    /// The text of a file, and its name, the same for one file whatever way leads to it. `path` is as written: an included file
    /// seen from the file `from` (empty for the main one), a file of secrets from the main file.
    ///
    /// # Errors
    /// Why it cannot be read, for an operator.
    fn file(&self, path: &str, from: Option<&str>) -> Result<(String, String), String>;

    /// The text of a file below the state directory, when it is there and can be read.
    fn state_file(&self, path: &str) -> Option<String>;
}

/// An environment, and no files.
impl<F: Fn(&str) -> Option<String>> Outside for F {
    fn variable(&self, name: &str) -> Option<String> {
        self(name)
    }
    fn file(&self, path: &str, _: Option<&str>) -> Result<(String, String), String> {
        Err(format!("{path} cannot be read here"))
    }
    fn state_file(&self, _: &str) -> Option<String> {
        None
    }
}
