//! Changes of the file as commands and clients ask for them: what they mean, and whether they may be (D17, D21, D36).

use serde_json::{Map, Value};

use crate::{
    GatewayMode, Loaded, Outside, Problem,
    edit::{EditError, set, unset},
    include,
    path::{Path, Segment},
    read, read_value, redact, restored, strict,
};

/// What is to become of the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// This value there; objects on the way are made.
    Set(Path, Value),
    /// Nothing there.
    Unset(Path),
    /// Laid over the file (RFC 7386): null takes out, objects are merged, everything else is replaced.
    Merge(Map<String, Value>),
    /// Another text in its place.
    Replace(String),
}

/// A file as it would be.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// Its text.
    pub text: String,
    /// What a start would read of it; none when the file was wrong elsewhere before, and is still.
    pub loaded: Option<Box<Loaded>>,
    /// What was wrong before and still is, as a writer is told; a start may be more tolerant.
    pub left: Vec<Problem>,
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The text that should take the file's place cannot be read.
    #[error("{0}")]
    Unreadable(Problem),
    /// It cannot be made in this text.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// What stands in included files would still count.
    #[error(
        "{path} would not be as asked for, because an included file has a say there ({files}); change it in that file"
    )]
    Included {
        /// Where.
        path: String,
        /// The files that the configuration includes.
        files: String,
    },
    /// The file would be wrong where it was not before.
    #[error("the file would be wrong: {}", listed(.0))]
    Wrong(Vec<Problem>),
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The file with the change: comments, order, `${NAME}` and `$include` stay as they are (D21), and a marker of a secret that
/// was not shown becomes that secret again (D17). A file that is wrong elsewhere may be mended step by step, and nothing may get
/// worse.
///
/// # Errors
/// [`Refused`]; then nothing is to be written.
pub fn change(old: &str, edit: &Edit, outside: &dyn Outside) -> Result<Changed, Refused> {
    let text = match edit {
        Edit::Replace(text) => replaced(old, text)?,
        Edit::Set(path, value) => {
            let stored = read_value(old).map_err(EditError::Unreadable)?;
            let path = &path.within(&stored);
            let value = restored(value, path.get(&stored).unwrap_or(&Value::Null));
            set(old, path, &value)?
        }
        Edit::Unset(path) => {
            let path = path.within(&read_value(old).map_err(EditError::Unreadable)?);
            unset(old, &path).or_else(|error| absent(old, &path, outside, error))?
        }
        Edit::Merge(over) => {
            let stored = read_value(old).map_err(EditError::Unreadable)?;
            merged(old, &Path::default(), over, &stored)?
        }
    };
    as_asked(old, &text, edit, outside)?;
    judged(old, text, outside)
}

/// What a start asks of a valid file besides: that it may serve, and a secret that tells people from strangers. Flags of a start
/// may say otherwise.
pub fn not_startable(loaded: &Loaded, outside: &dyn Outside) -> Vec<Problem> {
    let gateway = &loaded.config.gateway;
    let at = |path: &str, message: &str| Problem {
        path: path.to_owned(),
        message: message.to_owned(),
        line: None,
        column: None,
    };
    let mut problems = vec![];
    if gateway.mode != Some(GatewayMode::Local) {
        problems.push(at("gateway.mode", "a start asks for \"local\" here"));
    }
    let auth = &gateway.auth;
    let in_file =
        auth.token.is_some() || auth.password.is_some() || auth.token_file.is_some() || auth.password_file.is_some();
    let in_environment = ["OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_PASSWORD"]
        .iter()
        .any(|name| outside.variable(name).is_some_and(|value| !value.is_empty()));
    if !in_file && !in_environment {
        problems.push(at("gateway.auth", "a start asks for a token or a password, here or in the environment"));
    }
    problems
}

/// Strictly for what is new, and startable unless it was not before.
fn judged(old: &str, text: String, outside: &dyn Outside) -> Result<Changed, Refused> {
    let fresh = |now: &[Problem], before: &[Problem]| -> Vec<Problem> {
        now.iter().filter(|problem| !before.contains(problem)).cloned().collect()
    };
    let left = strict(&text, outside).err().unwrap_or_default();
    if !left.is_empty() {
        let new = fresh(&left, &strict(old, outside).err().unwrap_or_default());
        if !new.is_empty() {
            return Err(Refused::Wrong(new));
        }
    }
    match read(&text, outside) {
        Ok(loaded) => {
            let before = read(old, outside).map(|old| not_startable(&old, outside));
            // Who had no file, or one that no start took, begins somewhere.
            let lacks = before.map(|before| fresh(&not_startable(&loaded, outside), &before)).unwrap_or_default();
            if !lacks.is_empty() {
                return Err(Refused::Wrong(lacks));
            }
            Ok(Changed { text, loaded: Some(Box::new(loaded)), left })
        }
        Err(stops) => match fresh(&stops, &read(old, outside).err().unwrap_or_default()) {
            new if new.is_empty() => Ok(Changed { text, loaded: None, left }),
            new => Err(Refused::Wrong(new)),
        },
    }
}

/// `new` with the secrets of `old` wherever a marker stands for one, also in comments.
fn replaced(old: &str, new: &str) -> Result<String, Refused> {
    let sent = read_value(new).map_err(Refused::Unreadable)?;
    // What cannot be read holds nothing to put back.
    let Ok(stored) = read_value(old) else { return Ok(new.to_owned()) };
    let mut text = redact::comments_restored(new, old).unwrap_or_else(|| new.to_owned());
    let mut places = vec![];
    differences(&sent, &restored(&sent, &stored), &Path::default(), &mut places);
    for (path, value) in places {
        text = set(&text, &path, &value)?;
    }
    Ok(text)
}

/// Where `after` is not `before`, which has the same shape.
fn differences(before: &Value, after: &Value, path: &Path, out: &mut Vec<(Path, Value)>) {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().zip(b).for_each(|((key, a), (_, b))| differences(a, b, &path.key(key), out));
        }
        (Value::Array(a), Value::Array(b)) => {
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| differences(a, b, &path.index(i), out));
        }
        (a, b) if a != b => out.push((path.clone(), b.clone())),
        _ => {}
    }
}

/// `text` with `over` laid over what stands at `path`, which is `stored`.
fn merged(text: &str, path: &Path, over: &Map<String, Value>, stored: &Value) -> Result<String, EditError> {
    let mut text = text.to_owned();
    for (key, value) in over {
        let (at, here) = (path.key(key), stored.get(key));
        text = match (value, here) {
            (Value::Null, None) => text,
            (Value::Null, Some(_)) => unset(&text, &at)?,
            (Value::Object(over), Some(here @ Value::Object(_))) => merged(&text, &at, over, here)?,
            (value, here) => set(&text, &at, &without_nulls(&restored(value, here.unwrap_or(&Value::Null))))?,
        };
    }
    Ok(text)
}

/// What a merge puts where nothing was: a null takes out what is not there.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, item)| !item.is_null());
            Value::Object(kept.map(|(key, item)| (key.clone(), without_nulls(item))).collect())
        }
        other => other.clone(),
    }
}

/// Nothing stands there in the file itself; an included one may have it.
fn absent(old: &str, path: &Path, outside: &dyn Outside, error: EditError) -> Result<String, Refused> {
    let whole = Whole::of(old, outside);
    match whole {
        Some(whole) if path.get(&whole.value).is_some() => Err(whole.has_a_say(path)),
        _ => Err(error.into()),
    }
}

/// The change has its effect on what the file and its included files say together; else another file has a say.
fn as_asked(old: &str, new: &str, edit: &Edit, outside: &dyn Outside) -> Result<(), Refused> {
    let (Some(before), Some(after)) = (Whole::of(old, outside), Whole::of(new, outside)) else { return Ok(()) };
    if before.files.is_empty() {
        return Ok(());
    }
    let check = |path: &Path, wanted: Option<&Value>| {
        let found = path.get(&after.value);
        if found == wanted { Ok(()) } else { Err(after.has_a_say(path)) }
    };
    let written = read_value(new).unwrap_or_default();
    match edit {
        Edit::Set(path, _) => {
            let path = path.within(&written);
            check(&path, path.get(&written))
        }
        Edit::Unset(path) => match path.segments().last() {
            Some(Segment::Key(_)) => check(path, None),
            _ => Ok(()),
        },
        Edit::Merge(over) => leaves(over, &Path::default(), &mut |path, value| {
            check(path, if value.is_null() { None } else { path.get(&written) })
        }),
        Edit::Replace(_) => Ok(()),
    }
}

/// Calls `f` with each place that a merge changes.
fn leaves(
    over: &Map<String, Value>,
    path: &Path,
    f: &mut dyn FnMut(&Path, &Value) -> Result<(), Refused>,
) -> Result<(), Refused> {
    over.iter().try_for_each(|(key, value)| match value {
        Value::Object(inner) => leaves(inner, &path.key(key), f),
        value => f(&path.key(key), value),
    })
}

/// A file with what it includes.
struct Whole {
    value: Value,
    files: Vec<String>,
}

impl Whole {
    fn of(text: &str, outside: &dyn Outside) -> Option<Self> {
        let mut value = read_value(text).ok()?;
        let files = include::resolve(&mut value, outside, &mut vec![]);
        Some(Self { value, files })
    }

    fn has_a_say(&self, path: &Path) -> Refused {
        Refused::Included { path: path.to_string(), files: self.files.join(", ") }
    }
}

#[cfg(test)]
mod tests;
