//! Secrets that flags give: the text, a file, or standard input.

use std::{
    io::{self, Read as _},
    path::Path,
};

use crate::{config_file, failure::Failure};

/// A secret is short.
const MAX: u64 = 64 << 10;

/// The secret of a flag and of its file flag, named `flag`; none when neither was given.
///
/// # Errors
/// Runtime: the file cannot be read, or there is nothing in it.
pub fn given(text: Option<&String>, file: Option<&Path>, flag: &str) -> Result<Option<String>, Failure> {
    let secret = match (text, file) {
        (None, None) => return Ok(None),
        (Some(text), _) => text.trim().to_owned(),
        (None, Some(file)) => read(file).map_err(|e| {
            Failure::Runtime(format!("{flag}-file: cannot read {}: {e}; nothing was written", file.display()))
        })?,
    };
    if secret.is_empty() {
        return Err(Failure::Runtime(format!("{flag}: expected a secret, found nothing; nothing was written")));
    }
    Ok(Some(secret))
}

fn read(file: &Path) -> io::Result<String> {
    if file != Path::new("-") {
        return config_file::read_secret(file);
    }
    let mut text = String::new();
    io::stdin().lock().take(MAX).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // the binary's own file access
    fn a_secret_is_read_from_a_file_and_an_empty_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        assert_eq!(given(None, None, "--api-key").unwrap(), None);
        let failure = given(None, Some(&file), "--api-key").unwrap_err().to_string();
        assert!(failure.contains("--api-key-file") && failure.contains("nothing was written"), "{failure}");
        std::fs::write(&file, "k\n").unwrap();
        assert_eq!(given(None, Some(&file), "--api-key").unwrap().as_deref(), Some("k"));
        std::fs::write(&file, "\n").unwrap();
        assert!(given(None, Some(&file), "--api-key").is_err());
        assert!(given(Some(&String::new()), None, "--api-key").is_err());
    }
}
