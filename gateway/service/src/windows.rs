//! The script that a task of the Windows task scheduler runs. The program itself runs on Linux and macOS only; on Windows it
//! lives in WSL2 (with systemd), and this is for whoever starts it from there by a task.

use std::fmt::Write as _;

use crate::{Definition, Parsed, Unfit};

/// The script's text, with the line ends of Windows.
pub(crate) fn render(definition: &Definition) -> Result<String, Unfit> {
    let mut text = format!("@echo off\r\nrem {}\r\n", percent(&definition.description()));
    let _ = write!(text, "cd /d \"{}\"\r\n", held("the working directory", &definition.working_dir)?);
    for (name, value) in definition.variables() {
        let _ = write!(text, "set \"{name}={}\"\r\n", held(&format!("the variable {name}"), value)?);
    }
    let words: Result<Vec<String>, Unfit> = definition.command.iter().map(|word| word_of(word)).collect();
    let _ = write!(text, "{}\r\n", words?.join(" "));
    Ok(text)
}

/// Between double quotes cmd takes everything as it is, but a percent sign; a quote inside cannot be said.
fn held(what: &str, value: &str) -> Result<String, Unfit> {
    if value.contains('"') { Err(Unfit::new(what, "text without double quotes")) } else { Ok(percent(value)) }
}

fn percent(text: &str) -> String {
    text.replace('%', "%%")
}

fn word_of(word: &str) -> Result<String, Unfit> {
    let text = held("an argument", word)?;
    let is_plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./\\:=".contains(c));
    Ok(if is_plain { text } else { format!("\"{text}\"") })
}

/// Reads such a script.
pub(crate) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        let plain = line.replace("%%", "%");
        if line.starts_with('@') {
            continue;
        }
        if let Some(text) = plain.strip_prefix("rem ") {
            parsed.description.get_or_insert_with(|| text.to_owned());
        } else if let Some(dir) = plain.strip_prefix("cd /d ") {
            parsed.working_dir = Some(dir.trim_matches('"').to_owned());
        } else if let Some(rest) = plain.strip_prefix("set ") {
            let quoted = rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            if let Some((name, value)) = quoted.unwrap_or(rest).split_once('=') {
                parsed.set(name, value);
            }
        } else {
            parsed.command = words(&plain);
        }
    }
    parsed
}

fn words(line: &str) -> Vec<String> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            ' ' | '\t' if !is_quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::tests::definition;

    #[test]
    fn row_066_the_script_sets_variables_and_runs_the_gateway() {
        let mut definition = definition();
        definition.command[0] = "C:\\Program Files\\openclaw.exe".to_owned();
        definition.environment[5].1 = "a&b^c%d".to_owned();
        let text = render(&definition).unwrap();
        assert!(text.contains("\r\nset \"OPENCLAW_GATEWAY_TOKEN=a&b^c%%d\"\r\n"), "{text}");
        assert!(text.ends_with("\r\n\"C:\\Program Files\\openclaw.exe\" gateway --port 18810\r\n"), "{text}");
        assert_eq!(parse(&text).command, definition.command);
        assert!(parse(&text).is_ours());
    }
}
