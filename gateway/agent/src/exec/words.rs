//! What is wrong with a stored policy: words that are none, and patterns that can never match (S26, F49).

use std::collections::BTreeMap;

use openclaw_config::{ExecAsk, ExecSecurity};
use openclaw_protocol::approvals::ExecApprovalsFile;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file: `agents.main.security`.
    pub place: String,
    /// What was expected, what was found, and what it counts as.
    pub text: String,
    /// True for a misspelling: such a file is not written.
    pub is_misspelt: bool,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// A word of `security` or `askFallback`, exactly as it has to be written.
pub fn security(word: &str) -> Option<ExecSecurity> {
    match word {
        "deny" => Some(ExecSecurity::Deny),
        "allowlist" => Some(ExecSecurity::Allowlist),
        "full" => Some(ExecSecurity::Full),
        _ => None,
    }
}

/// A word of `ask`, exactly as it has to be written.
pub fn ask(word: &str) -> Option<ExecAsk> {
    match word {
        "off" => Some(ExecAsk::Off),
        "on-miss" => Some(ExecAsk::OnMiss),
        "always" => Some(ExecAsk::Always),
        _ => None,
    }
}

/// True for `*` and for an agent id as the configuration has it: another name would never be looked up.
pub fn is_agent(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name == "*" || (!name.is_empty() && name.len() <= 64 && name.chars().all(plain))
}

/// The agent that a section is for; upper and lower case are one, as in session keys.
pub fn agent_of(name: &str) -> String {
    name.trim().to_lowercase()
}

/// Everything that is wrong with `file`, in the order of the file.
pub fn problems(file: &ExecApprovalsFile) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut words = |place: &str, said: [&Option<String>; 3]| {
        let [of_security, of_ask, of_fallback] = said;
        let wrong = [
            ("security", of_security, security as fn(&str) -> _, "deny, allowlist or full", "deny"),
            ("askFallback", of_fallback, security, "deny, allowlist or full", "deny"),
        ];
        for (key, word, known, expected, strictest) in wrong {
            if let Some(word) = word.as_deref().filter(|w| known(w).is_none()) {
                found.push(misspelt(&format!("{place}.{key}"), word, expected, strictest));
            }
        }
        if let Some(word) = of_ask.as_deref().filter(|w| ask(w).is_none()) {
            found.push(misspelt(&format!("{place}.ask"), word, "off, on-miss or always", "always"));
        }
    };
    if let Some(d) = &file.defaults {
        words("defaults", [&d.security, &d.ask, &d.ask_fallback]);
    }
    let agents = || file.agents.iter().flat_map(|a| &a.0);
    for (id, agent) in agents() {
        words(&format!("agents.{}", visible(id)), [&agent.security, &agent.ask, &agent.ask_fallback]);
    }
    let mut sections: BTreeMap<String, usize> = BTreeMap::new();
    for (id, _) in agents() {
        *sections.entry(agent_of(id)).or_default() += 1;
    }
    for (id, agent) in agents() {
        let place = format!("agents.{}", visible(id));
        if !is_agent(id) || sections.get(&agent_of(id)).is_some_and(|n| *n > 1) {
            let text = "expected an agent id (letters, digits, - and _) or *, each agent once; until it is corrected it counts \
                        as deny for the agent that it looks like";
            found.push(Problem { place: place.clone(), text: text.to_owned(), is_misspelt: true });
        }
        for entry in agent.allowlist.iter().flat_map(|l| &l.0) {
            if let Some(why) = super::pattern::never_matches(&entry.pattern) {
                let text = format!("{} matches nothing: {why}", visible(&entry.pattern));
                found.push(Problem { place: format!("{place}.allowlist"), text, is_misspelt: false });
            }
        }
    }
    found
}

fn misspelt(place: &str, word: &str, expected: &str, strictest: &str) -> Problem {
    let word = visible(word);
    let text = format!("expected {expected}, found \"{word}\"; until it is corrected it counts as {strictest}");
    Problem { place: place.to_owned(), text, is_misspelt: true }
}

/// Short, and without anything that a terminal would obey (S18, S31).
fn visible(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(file: Value) -> Vec<String> {
        problems(&serde_json::from_value(file).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn s26_every_misspelt_word_is_named_wherever_it_stands() {
        for word in ["Deny", "DENY", "denied", "allow-list", "Full", "", " deny", "deny ", "none", "off", "d\u{435}ny"]
        {
            for (key, place) in [("security", "security"), ("askFallback", "askFallback")] {
                let found = of(json!({"version": 1, "defaults": {key: word}}));
                assert!(
                    found.len() == 1 && found[0].starts_with(&format!("defaults.{place}: expected deny,")),
                    "{word} {found:?}"
                );
                assert_eq!(of(json!({"version": 1, "agents": {"*": {key: word}}})).len(), 1, "{word}");
            }
        }
        for word in ["Always", "on_miss", "never", "", "deny", "on-miss "] {
            assert_eq!(of(json!({"version": 1, "agents": {"main": {"ask": word}}})).len(), 1, "{word}");
        }
        let right = json!({"security": "allowlist", "ask": "on-miss", "askFallback": "full", "allowlist": [{"pattern": "/bin/ls"}]});
        assert_eq!(of(json!({"version": 1, "agents": {"main": right, "default": right, "*": right}})), [""; 0]);
        for id in ["main ", " main", "ma in", "**", "m\u{200b}ain"] {
            assert_eq!(of(json!({"version": 1, "agents": {id: {}}})).len(), 1, "{id:?}");
        }
    }

    #[test]
    fn s26_two_sections_for_one_agent_are_a_misspelling() {
        assert_eq!(of(json!({"version": 1, "agents": {"Main": {}}})), [""; 0]);
        assert_eq!(of(json!({"version": 1, "agents": {"Main": {}, "main": {}}})).len(), 2);
    }

    #[test]
    fn f49_patterns_that_match_nothing_are_named() {
        let list: Vec<Value> = ["ls", "bin/ls", "*", "./x", "/bin/../x", "//x", "/bin/", "/bin/ls", "~/bin/*", "/**"]
            .map(|p| json!({"pattern": p}))
            .into();
        let found = of(json!({"version": 1, "agents": {"main": {"allowlist": list}}}));
        assert_eq!(found.len(), 7, "{found:?}");
        assert!(found[0].starts_with("agents.main.allowlist: ls matches nothing: "), "{found:?}");
    }
}
