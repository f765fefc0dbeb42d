//! The policy in force and what it says to one command.

use openclaw_config::{ExecAsk, ExecSecurity};
use openclaw_protocol::approvals::{ExecAgent, ExecApprovalsFile, ExecDefaults};

use super::pattern;

/// What may run, and when a person is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which programs.
    pub security: ExecSecurity,
    /// When a person is asked.
    pub ask: ExecAsk,
    /// What counts when nobody answers.
    pub fallback: ExecSecurity,
    /// Patterns that need no question.
    pub allowlist: Vec<String>,
}

/// What the policy says to one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may run.
    Run,
    /// A person has to be asked.
    Ask,
    /// It may not; why.
    Deny(&'static str),
}

fn security(word: &str) -> Option<ExecSecurity> {
    match word {
        "deny" => Some(ExecSecurity::Deny),
        "allowlist" => Some(ExecSecurity::Allowlist),
        "full" => Some(ExecSecurity::Full),
        _ => None,
    }
}

fn ask(word: &str) -> Option<ExecAsk> {
    match word {
        "off" => Some(ExecAsk::Off),
        "on-miss" => Some(ExecAsk::OnMiss),
        "always" => Some(ExecAsk::Always),
        _ => None,
    }
}

fn strictness(security: ExecSecurity) -> u8 {
    match security {
        ExecSecurity::Deny => 2,
        ExecSecurity::Allowlist => 1,
        ExecSecurity::Full => 0,
    }
}

fn eagerness(ask: ExecAsk) -> u8 {
    match ask {
        ExecAsk::Off => 0,
        ExecAsk::OnMiss => 1,
        ExecAsk::Always => 2,
    }
}

impl Policy {
    /// What the file says for `agent`: its own entry, else `*`, else the defaults, else `unset`. A word that is no
    /// policy counts as not said.
    pub fn of(file: &ExecApprovalsFile, agent: &str, unset: (ExecSecurity, ExecAsk)) -> Self {
        let entries = |id: &str| file.agents.as_ref().and_then(|a| a.0.get(id));
        // Older files call the main agent `default`.
        let own = entries(agent).or_else(|| entries("default").filter(|_| agent == "main"));
        let layers: Vec<&ExecAgent> = own.into_iter().chain(entries("*")).collect();
        let defaults = file.defaults.as_ref();
        let first = |of: fn(&ExecAgent) -> &Option<String>, default: fn(&ExecDefaults) -> &Option<String>| {
            let said = layers.iter().filter_map(|l| of(l).clone());
            said.chain(defaults.and_then(|d| default(d).clone())).collect::<Vec<_>>()
        };
        let word_security = |words: Vec<String>| words.iter().find_map(|w| security(w.trim()));
        Self {
            security: word_security(first(|a| &a.security, |d| &d.security)).unwrap_or(unset.0),
            ask: first(|a| &a.ask, |d| &d.ask).iter().find_map(|w| ask(w.trim())).unwrap_or(unset.1),
            fallback: word_security(first(|a| &a.ask_fallback, |d| &d.ask_fallback)).unwrap_or(ExecSecurity::Deny),
            allowlist: layers
                .iter()
                .filter_map(|l| l.allowlist.as_ref())
                .flat_map(|l| l.0.iter().map(|e| e.pattern.as_str().to_owned()))
                .collect(),
        }
    }

    /// The stricter of this and another opinion.
    pub fn at_most(mut self, security: Option<ExecSecurity>, ask: Option<ExecAsk>) -> Self {
        if let Some(other) = security.filter(|s| strictness(*s) > strictness(self.security)) {
            self.security = other;
        }
        if let Some(other) = ask.filter(|a| eagerness(*a) > eagerness(self.ask)) {
            self.ask = other;
        }
        self
    }

    fn lists(&self, path: &str, home: Option<&str>) -> bool {
        self.allowlist.iter().any(|p| pattern::matches(p, path, home))
    }

    /// What it says to the program at the absolute path `path`.
    pub fn judge(&self, path: &str, home: Option<&str>) -> Verdict {
        let listed = self.security == ExecSecurity::Full || self.lists(path, home);
        match (self.security, self.ask) {
            (ExecSecurity::Deny, _) => Verdict::Deny("the policy allows no programs"),
            (_, ExecAsk::Always) => Verdict::Ask,
            _ if listed => Verdict::Run,
            (_, ExecAsk::OnMiss) => Verdict::Ask,
            (_, ExecAsk::Off) => Verdict::Deny("the program is not on the allowlist"),
        }
    }

    /// May it run although nobody answered?
    pub fn falls_back(&self, path: &str, home: Option<&str>) -> bool {
        match self.fallback {
            ExecSecurity::Deny => false,
            ExecSecurity::Allowlist => self.lists(path, home),
            ExecSecurity::Full => self.security == ExecSecurity::Full || self.lists(path, home),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const UNSET: (ExecSecurity, ExecAsk) = (ExecSecurity::Deny, ExecAsk::OnMiss);

    fn policy(file: Value, agent: &str) -> Policy {
        Policy::of(&serde_json::from_value(file).unwrap(), agent, UNSET)
    }

    #[test]
    fn own_entry_then_star_then_defaults() {
        let file = json!({"version": 1,
        "defaults": {"security": "full", "ask": "off", "askFallback": "full"},
        "agents": {
            "*": {"security": "allowlist", "allowlist": [{"pattern": "/bin/a"}]},
            "main": {"ask": "always", "security": "bogus", "allowlist": [{"pattern": "/bin/b"}]},
        }});
        let p = policy(file.clone(), "main");
        assert_eq!((p.security, p.ask, p.fallback), (ExecSecurity::Allowlist, ExecAsk::Always, ExecSecurity::Full));
        assert_eq!(p.allowlist, ["/bin/b", "/bin/a"]);
        let p = policy(file, "other");
        assert_eq!((p.security, p.ask), (ExecSecurity::Allowlist, ExecAsk::Off));
        let p = policy(json!({"version": 1, "agents": {"default": {"security": "full"}}}), "main");
        assert_eq!((p.security, p.ask, p.fallback), (ExecSecurity::Full, ExecAsk::OnMiss, ExecSecurity::Deny));
        assert_eq!(policy(json!({"version": 1}), "main").security, ExecSecurity::Deny);
    }

    /// Every combination, written out by hand: (security, ask) to (listed, not listed).
    #[test]
    fn s19_the_matrix_of_verdicts() {
        let words = |security: &str, ask: &str| {
            let agent = json!({"security": security, "ask": ask, "allowlist": [{"pattern": "/bin/ok"}]});
            let p = policy(json!({"version": 1, "agents": {"main": agent}}), "main");
            let word = |path| match p.judge(path, None) {
                Verdict::Run => "run",
                Verdict::Ask => "ask",
                Verdict::Deny(_) => "deny",
            };
            (word("/bin/ok"), word("/bin/no"))
        };
        let expected = [
            ("deny", "off", ("deny", "deny")),
            ("deny", "on-miss", ("deny", "deny")),
            ("deny", "always", ("deny", "deny")),
            ("allowlist", "off", ("run", "deny")),
            ("allowlist", "on-miss", ("run", "ask")),
            ("allowlist", "always", ("ask", "ask")),
            ("full", "off", ("run", "run")),
            ("full", "on-miss", ("run", "run")),
            ("full", "always", ("ask", "ask")),
        ];
        for (security, ask, verdicts) in expected {
            assert_eq!(words(security, ask), verdicts, "{security} {ask}");
        }
    }

    #[test]
    fn the_stricter_opinion_counts() {
        let p = policy(json!({"version": 1, "defaults": {"security": "full", "ask": "off"}}), "main");
        let strict = p.clone().at_most(Some(ExecSecurity::Allowlist), Some(ExecAsk::Always));
        assert_eq!((strict.security, strict.ask), (ExecSecurity::Allowlist, ExecAsk::Always));
        let p = policy(json!({"version": 1}), "main").at_most(Some(ExecSecurity::Full), Some(ExecAsk::Off));
        assert_eq!((p.security, p.ask), (ExecSecurity::Deny, ExecAsk::OnMiss));
    }
}
