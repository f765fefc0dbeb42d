//! The policy in force and what it says to one command.

use std::path::Path;

use openclaw_config::{ExecAsk, ExecSecurity};
use openclaw_platform::Processes;
use openclaw_protocol::approvals::{ExecAgent, ExecApprovalsFile};
use serde_json::Value;

use super::{launchers::Role, pattern, target::Target, words};

/// What may run, and when a person is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which programs.
    pub security: ExecSecurity,
    /// When a person is asked.
    pub ask: ExecAsk,
    /// What counts when nobody answers.
    pub fallback: ExecSecurity,
    /// Programs that need no question.
    pub allowlist: Vec<Allowed>,
}

/// One entry of the allowlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Of the program's path, after all links.
    pub pattern: String,
    /// The program's content when a person said allow-always; another content is another program (S25).
    pub sha256: Option<String>,
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

/// What one agent's section says; a section under a name that is none counts as misspelt as a whole (S26).
struct Section<'a> {
    is_misspelt: bool,
    agent: &'a ExecAgent,
}

impl<'a> Section<'a> {
    fn word(&self, of: fn(&'a ExecAgent) -> &'a Option<String>) -> Option<&'a str> {
        if self.is_misspelt { Some("") } else { of(self.agent).as_deref() }
    }
}

impl Policy {
    /// What the file says for `agent`: its own section, else `*`, else the defaults, else `unset`. The first word said
    /// counts; one that is misspelt is the strictest there is (S26).
    pub fn of(file: &ExecApprovalsFile, agent: &str, unset: (ExecSecurity, ExecAsk)) -> Self {
        let sections = sections(file, agent);
        let defaults = file.defaults.as_ref();
        let first = |of: fn(&ExecAgent) -> &Option<String>, default: Option<&Option<String>>| {
            let said = sections.iter().find_map(|section| section.word(of).map(str::to_owned));
            said.or_else(|| default.cloned().flatten())
        };
        let security = first(|a| &a.security, defaults.map(|d| &d.security));
        let ask = first(|a| &a.ask, defaults.map(|d| &d.ask));
        let fallback = first(|a| &a.ask_fallback, defaults.map(|d| &d.ask_fallback));
        let strictest = |word: String| words::security(&word).unwrap_or(ExecSecurity::Deny);
        let entries = sections.iter().filter_map(|s| s.agent.allowlist.as_ref()).flat_map(|list| &list.0);
        Self {
            security: security.map_or(unset.0, strictest),
            ask: ask.map_or(unset.1, |word| words::ask(&word).unwrap_or(ExecAsk::Always)),
            fallback: fallback.map_or(ExecSecurity::Deny, strictest),
            allowlist: entries
                .map(|e| Allowed { pattern: e.pattern.as_str().to_owned(), sha256: e.sha256.clone() })
                .collect(),
        }
    }

    /// What is in force when no file is there.
    pub fn unsaid(unset: (ExecSecurity, ExecAsk)) -> Self {
        Self { security: unset.0, ask: unset.1, fallback: ExecSecurity::Deny, allowlist: vec![] }
    }

    /// The stricter of this and `exec`, an object with `security` and `ask` as an agent's configuration has it. Whatever
    /// is no word there is the strictest (S26).
    pub fn at_most_said(self, exec: &Value) -> Self {
        let said = |key: &str| Some(&exec[key]).filter(|word| !word.is_null()).map(|word| word.as_str().unwrap_or(""));
        let security = said("security").map(|word| words::security(word).unwrap_or(ExecSecurity::Deny));
        let ask = said("ask").map(|word| words::ask(word).unwrap_or(ExecAsk::Always));
        let is_wrong = !exec.is_null() && !exec.is_object();
        self.at_most(if is_wrong { Some(ExecSecurity::Deny) } else { security }, ask)
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

    /// True when the allowlist covers what `target` runs: the program itself after all links, and not whatever else a
    /// program can be told to run (S25).
    pub async fn lists(&self, processes: &dyn Processes, target: &Target, home: Option<&str>) -> bool {
        let path = target.path();
        let mut content: Option<Option<String>> = None;
        for entry in &self.allowlist {
            let pattern = resolved(processes, &entry.pattern, home);
            if !pattern.is_some_and(|pattern| pattern::matches(&pattern, &path, None)) {
                continue;
            }
            let is_covered = match target.role {
                Role::Plain => true,
                Role::Tool => pattern::is_literal(&entry.pattern),
                Role::Interpreter => pattern::is_literal(&entry.pattern) && target.runs_a_file(processes),
                Role::Wrapper => false,
            };
            if !is_covered {
                continue;
            }
            let Some(expected) = &entry.sha256 else { return true };
            if content.is_none() {
                content = Some(target.content(processes).await.ok());
            }
            if content.as_ref().is_some_and(|found| found.as_ref() == Some(expected)) {
                return true;
            }
        }
        false
    }

    /// What it says to a program; `listed` is what [`Self::lists`] says of it.
    pub fn judge(&self, listed: bool) -> Verdict {
        let listed = self.security == ExecSecurity::Full || listed;
        match (self.security, self.ask) {
            (ExecSecurity::Deny, _) => Verdict::Deny("the policy allows no programs"),
            (_, ExecAsk::Always) => Verdict::Ask,
            _ if listed => Verdict::Run,
            (_, ExecAsk::OnMiss) => Verdict::Ask,
            (_, ExecAsk::Off) => Verdict::Deny("the program is not on the allowlist"),
        }
    }

    /// May it run although nobody answered?
    pub fn falls_back(&self, listed: bool) -> bool {
        match (self.security, self.fallback) {
            (ExecSecurity::Deny, _) | (_, ExecSecurity::Deny) => false,
            (_, ExecSecurity::Allowlist) => listed,
            (_, ExecSecurity::Full) => self.security == ExecSecurity::Full || listed,
        }
    }
}

/// Sections that count for `agent`, in their order: its own, then `*`. Names are compared without case and blanks, so that
/// a misspelt one makes the policy stricter and not void.
fn sections<'a>(file: &'a ExecApprovalsFile, agent: &str) -> Vec<Section<'a>> {
    let named = |wanted: &str| -> Vec<Section<'a>> {
        let all = file.agents.iter().flat_map(|agents| &agents.0);
        let found: Vec<_> = all.filter(|(name, _)| words::agent_of(name) == words::agent_of(wanted)).collect();
        let is_twice = found.len() > 1;
        found
            .into_iter()
            .map(|(name, agent)| Section { is_misspelt: is_twice || !words::is_agent(name), agent })
            .collect()
    };
    let mut own = named(agent);
    if own.is_empty() && words::agent_of(agent) == "main" {
        // Older files call the main agent `default`.
        own = named("default");
    }
    own.extend(named("*"));
    own
}

/// The pattern with the links of its fixed directory followed.
fn resolved(processes: &dyn Processes, pattern: &str, home: Option<&str>) -> Option<String> {
    let pattern = pattern.trim();
    let pattern = match (pattern.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => format!("{}/{rest}", home.trim_end_matches('/')),
        (Some(_), None) => return None,
        (None, _) => pattern.to_owned(),
    };
    let (directory, rest) = pattern::fixed_directory(&pattern)?;
    let directory = processes.resolve(Path::new(directory))?;
    let directory = directory.to_str().filter(|path| pattern::is_literal(path))?;
    Some(format!("{}/{rest}", directory.trim_end_matches('/')))
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
            "main": {"ask": "always", "allowlist": [{"pattern": "/bin/b"}]},
        }});
        let p = policy(file.clone(), "main");
        assert_eq!((p.security, p.ask, p.fallback), (ExecSecurity::Allowlist, ExecAsk::Always, ExecSecurity::Full));
        assert_eq!(p.allowlist.iter().map(|a| a.pattern.as_str()).collect::<Vec<_>>(), ["/bin/b", "/bin/a"]);
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
            let agent = json!({"security": security, "ask": ask});
            let p = policy(json!({"version": 1, "agents": {"main": agent}}), "main");
            let word = |listed| match p.judge(listed) {
                Verdict::Run => "run",
                Verdict::Ask => "ask",
                Verdict::Deny(_) => "deny",
            };
            (word(true), word(false))
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

    /// A word that is none is the strictest, and hides what is said further down (S26).
    #[test]
    fn s26_misspelt_words_are_the_strictest() {
        let open = json!({"security": "full", "ask": "off", "askFallback": "full"});
        for wrong in ["Deny", "denied", "allow-list", "Full", "Always", "", " full", "off "] {
            let words = json!({"security": wrong, "ask": wrong, "askFallback": wrong});
            for file in [
                json!({"version": 1, "defaults": words}),
                json!({"version": 1, "defaults": open, "agents": {"main": words}}),
                json!({"version": 1, "defaults": open, "agents": {"*": words}}),
                json!({"version": 1, "defaults": open, "agents": {"default": words, "*": open}}),
            ] {
                let p = policy(file.clone(), "main");
                let strictest = (ExecSecurity::Deny, ExecAsk::Always, ExecSecurity::Deny);
                assert_eq!((p.security, p.ask, p.fallback), strictest, "{file}");
                assert!(!p.falls_back(true) && matches!(p.judge(true), Verdict::Deny(_)));
            }
        }
        // A section under a name that is almost the agent's makes it stricter, not void.
        for name in ["Main", "main ", "MAIN"] {
            let file = json!({"version": 1, "defaults": open, "agents": {"main": open, name: {"security": "deny"}}});
            assert_eq!(policy(file, "main").security, ExecSecurity::Deny, "{name:?}");
        }
        for exec in [
            json!({"security": "Deny"}),
            json!({"security": 1}),
            json!("deny"),
            json!({"ask": "Always", "security": ""}),
        ] {
            let p = policy(json!({"version": 1, "defaults": open}), "main").at_most_said(&exec);
            assert_eq!(p.security, ExecSecurity::Deny, "{exec}");
        }
        let p = policy(json!({"version": 1, "defaults": open}), "main").at_most_said(&json!({"ask": true}));
        assert_eq!((p.security, p.ask), (ExecSecurity::Full, ExecAsk::Always));
        let p = policy(json!({"version": 1, "defaults": open}), "main").at_most_said(&Value::Null);
        assert_eq!((p.security, p.ask), (ExecSecurity::Full, ExecAsk::Off));
    }

    /// What each pattern covers: the program after all links, no inline code, no program that runs programs (S25).
    #[tokio::test]
    #[allow(clippy::disallowed_methods)] // files of a test
    async fn s25_the_list_covers_programs_and_not_what_they_can_be_told_to_run() {
        use std::os::unix::fs::symlink;

        use openclaw_platform::os::OsProcesses;

        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        std::fs::write(at("p.sh"), "id").unwrap();
        symlink("/bin/sh", at("tool")).unwrap();
        symlink(OsProcesses.which("ls", None).unwrap(), at("list")).unwrap();
        symlink(dir.path(), at("way")).unwrap();
        std::fs::copy(OsProcesses.which("ls", None).unwrap(), at("copy")).unwrap();
        let real = |name: &str| {
            OsProcesses.resolve(&OsProcesses.which(name, None).unwrap()).unwrap().to_str().unwrap().to_owned()
        };
        let (sh, env, tar) = (real("sh"), real("env"), real("tar"));
        let covers = async |pattern: &str, argv: &[&str]| {
            let allowed = Allowed { pattern: pattern.to_owned(), sha256: None };
            let p = Policy { allowlist: vec![allowed], ..Policy::unsaid(UNSET) };
            let request = super::super::ExecRequest {
                argv: argv.iter().map(|a| (*a).to_owned()).collect(),
                cwd: Some(at("").display().to_string()),
                env: [].into(),
                env_left_out: vec![],
                session_key: None,
                agent_id: "main".into(),
            };
            let target = Target::find(&OsProcesses, &request, Path::new("/")).await.unwrap();
            p.lists(&OsProcesses, &target, Some(at("").to_str().unwrap())).await
        };
        let here = |name: &str| at(name).to_str().unwrap().to_owned();
        for (pattern, argv, expected) in [
            ("/bin/ls", &["ls", "-l"][..], true),
            ("/usr/bin/*", &["ls"], true),
            ("/**", &["ls"], true),
            ("ls", &["ls"], false),
            (&here("copy"), &["./copy"], true),
            (&here("way/copy"), &["way/copy"], true),
            (&here("way/*"), &["./copy"], true),
            ("~/copy", &["./copy"], true),
            // A link is what it leads to.
            (&here("list"), &["./list"], false),
            (&here("*"), &["./list"], false),
            (&here("tool"), &["./tool", "-c", "id"], false),
            (&here("*"), &["./tool", "p.sh"], false),
            // No pattern covers an interpreter, its own path covers it with a file.
            ("/**", &["sh", "p.sh"], false),
            ("/**", &["sh", "-c", "id"], false),
            (&sh, &["sh", "-c", "id"], false),
            (&sh, &["sh", "-ec", "id"], false),
            (&sh, &["sh"], false),
            (&sh, &["sh", "+x"], false),
            (&sh, &["sh", "no-such-file"], false),
            (&sh, &["sh", "p.sh"], true),
            (&sh, &["./tool", "p.sh"], true),
            (&env, &["env", "ls"], false),
            ("/**", &["env", "ls"], false),
            ("/**", &["tar", "-c", "p.sh"], false),
            (&tar, &["tar", "-c", "p.sh"], true),
        ] {
            assert_eq!(covers(pattern, argv).await, expected, "{pattern} {argv:?}");
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
