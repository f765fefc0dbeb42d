//! Policies and commands for the targets about programs that may run, and the rules of part A4 written down a second
//! time.

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Value, json};

use crate::generate;

const PATHS: [&str; 10] =
    ["/bin/ls", "/usr/bin/ls", "/bin/rm", "/home/u/bin/t", "/", "/a//b", "/opt/a/b/c", "/bin/l*", "/é/x", "/bin/"];
const PIECES: [&str; 16] =
    ["/", "bin", "ls", "*", "**", "?", "~/", "usr", "/bin/ls", "/home/u", "a", "b", " ", "é", "/**", "l?"];
const WORDS: [&str; 10] =
    ["deny", "allowlist", "full", "off", "on-miss", "always", " full ", "Full", "", "on-miss\u{0}"];
const ARGUMENTS: [&str; 14] =
    ["ls", "rm", "-rf", "a b", "'", "\"", "$HOME", "\n", "\u{1b}[2J", "", "no-such", "/bin/ls", "é", "\u{0}"];
const VARIABLES: [&str; 12] =
    ["A", "PATH", "ld_preload", "LD_LIBRARY_PATH", "GIT_SSH", "A=B", "", "LANG", "ı", "Path", "BASH_ENV", "_1"];

/// The absolute path of a program.
pub fn path(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=3)? {
        0 => format!("/{}", pieces(u)?),
        _ => (*u.choose(&PATHS)?).to_owned(),
    })
}

/// A pattern of the allowlist.
pub fn pattern(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=3)? {
        0 => generate::text(u)?,
        1 => format!("/{}", pieces(u)?),
        _ => pieces(u)?,
    })
}

fn pieces(u: &mut Unstructured<'_>) -> Result<String> {
    (0..u.int_in_range(0..=6)?).map(|_| u.choose(&PIECES).copied()).collect()
}

/// A policy file: the right shape, any words.
pub fn file(u: &mut Unstructured<'_>) -> Result<Value> {
    let mut file = json!({ "version": 1 });
    if u.arbitrary()? {
        file["defaults"] = said(u)?;
    }
    for agent in ["main", "*", "default"] {
        if u.arbitrary()? {
            let mut own = said(u)?;
            if u.arbitrary()? {
                let list = (0..u.int_in_range(0..=2)?).map(|_| Ok(json!({ "pattern": pattern(u)? })));
                own["allowlist"] = list.collect::<Result<Vec<_>>>()?.into();
            }
            file["agents"][agent] = own;
        }
    }
    Ok(file)
}

fn said(u: &mut Unstructured<'_>) -> Result<Value> {
    let mut said = Map::new();
    for (key, own) in [("security", 0..3), ("ask", 3..6), ("askFallback", 0..3)] {
        let word = match u.int_in_range(0..=7)? {
            0 | 1 => continue,
            2 => *u.choose(&WORDS)?,
            _ => *u.choose(&WORDS[own])?,
        };
        said.insert(key.to_owned(), word.into());
    }
    Ok(Value::Object(said))
}

/// Parameters of `system.run`, mostly.
pub fn params(u: &mut Unstructured<'_>) -> Result<Value> {
    if u.int_in_range(0..=15)? == 15 {
        return generate::any(u);
    }
    let argument = |u: &mut Unstructured<'_>| match u.int_in_range(0..=3)? {
        0 => generate::text(u),
        _ => Ok((*u.choose(&ARGUMENTS)?).to_owned()),
    };
    let argv = (0..u.int_in_range(0..=4)?).map(|_| argument(u)).collect::<Result<Vec<_>>>()?;
    let mut params = json!({ "command": argv });
    if u.arbitrary()? {
        let one = |u: &mut Unstructured<'_>| Ok((argument(u)?, (*u.choose(&VARIABLES)?).to_owned()));
        let env = (0..u.int_in_range(0..=3)?).map(|_| one(u)).collect::<Result<Vec<_>>>()?;
        params["env"] = env.into_iter().map(|(value, name)| (name, value.into())).collect::<Map<_, _>>().into();
    }
    for (key, values) in [
        ("cwd", [json!("/tmp"), json!("tmp"), json!("/a/../b"), json!("")]),
        ("agentId", [json!("main"), json!("other"), json!("*"), json!("")]),
        ("sessionKey", [json!("main"), json!("agent:main:main"), json!(""), json!(7)]),
        ("approved", [json!(true), json!(false), json!("true"), json!(1)]),
        ("unanswered", [json!(true), json!(false), json!("true"), Value::Null]),
        ("approvalDecision", [json!("allow-always"), json!("allow-once"), json!("deny"), json!(true)]),
        ("timeoutMs", [json!(0), json!(1), json!(u64::MAX), json!(-1)]),
    ] {
        match u.int_in_range(0..=15)? {
            0..=7 => {}
            15 => params[key] = generate::any(u)?,
            _ => params[key] = u.choose(&values)?.clone(),
        }
    }
    Ok(params)
}

/// What the rules say to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It runs.
    Run,
    /// A person decides.
    Ask,
    /// It does not run.
    Deny,
}

/// What a file says for an agent: its own entry (`default` is the main agent's old name), then `*`, then the defaults,
/// then deny and on-miss. The allowlists of the first two count together.
#[derive(Debug)]
pub struct Rules {
    security: String,
    ask: String,
    fallback: String,
    patterns: Vec<String>,
}

impl Rules {
    /// Reads a file that its schema takes.
    pub fn read(file: &Value, agent: &str) -> Self {
        let entry = |id: &str| file["agents"].get(id).filter(|entry| entry.is_object());
        let own = entry(agent).or_else(|| if agent == "main" { entry("default") } else { None });
        let agents: Vec<&Value> = own.into_iter().chain(entry("*")).collect();
        let word = |key: &str, known: [&str; 3], unset: &str| {
            let said = agents.iter().copied().chain(Some(&file["defaults"]));
            let mut words = said.filter_map(|layer| layer[key].as_str());
            // The first word counts; one that is none is the strictest (S26).
            let strictest = if key == "ask" { "always" } else { "deny" };
            words.next().map_or(unset, |word| if known.contains(&word) { word } else { strictest }).to_owned()
        };
        let securities = ["deny", "allowlist", "full"];
        let listed = agents.iter().flat_map(|layer| layer["allowlist"].as_array().into_iter().flatten());
        Self {
            security: word("security", securities, "deny"),
            ask: word("ask", ["off", "on-miss", "always"], "on-miss"),
            fallback: word("askFallback", securities, "deny"),
            patterns: listed.filter_map(|entry| entry["pattern"].as_str().map(str::to_owned)).collect(),
        }
    }

    /// For a program that the list covers, or not.
    pub fn verdict(&self, listed: bool) -> Expected {
        if self.security == "deny" {
            return Expected::Deny;
        }
        if self.ask == "always" {
            return Expected::Ask;
        }
        if self.security == "full" || listed {
            return Expected::Run;
        }
        if self.ask == "on-miss" { Expected::Ask } else { Expected::Deny }
    }

    /// When nobody answered.
    pub fn falls_back(&self, listed: bool) -> bool {
        match self.fallback.as_str() {
            _ if self.security == "deny" => false,
            "full" => self.security == "full" || listed,
            "allowlist" => listed,
            _ => false,
        }
    }

    /// True when a pattern fits the path; what it covers may be less (S25).
    pub fn lists(&self, path: &str, home: Option<&str>) -> bool {
        self.patterns.iter().any(|pattern| fits(pattern, path, home))
    }
}

/// `*` and `?` within one part of a path, `**` for any number of parts; without cleverness.
pub fn fits(pattern: &str, path: &str, home: Option<&str>) -> bool {
    let pattern = pattern.trim();
    let pattern = match (pattern.strip_prefix("~/"), home) {
        (None, _) => pattern.to_owned(),
        (Some(rest), Some(home)) => format!("{home}/{rest}"),
        (Some(_), None) => return false,
    };
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    pattern[0].is_empty() && pattern.len() > 1 && sequence(&pattern, &path, |p| *p == "**", |p, part| glob(p, part))
}

fn glob(pattern: &str, part: &str) -> bool {
    let (pattern, part): (Vec<char>, Vec<char>) = (pattern.chars().collect(), part.chars().collect());
    sequence(&pattern, &part, |p| *p == '*', |p, c| *p == '?' || p == c)
}

/// `fit[j]`: what has been read of the pattern fits the first `j` items.
fn sequence<P, T>(pattern: &[P], items: &[T], any: impl Fn(&P) -> bool, one: impl Fn(&P, &T) -> bool) -> bool {
    let mut fit: Vec<bool> = (0..=items.len()).map(|j| j == 0).collect();
    for p in pattern {
        let mut next = vec![false; items.len() + 1];
        for j in 0..=items.len() {
            next[j] =
                if any(p) { fit[j] || (j > 0 && next[j - 1]) } else { j > 0 && fit[j - 1] && one(p, &items[j - 1]) };
        }
        fit = next;
    }
    fit[items.len()]
}
