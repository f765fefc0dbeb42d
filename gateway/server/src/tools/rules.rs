//! Which tools the configuration leaves to a run (D38). Every rule that names the run limits it further; what denies wins.

use openclaw_config::{Config, ModelRef, SessionVisibility, ToolProfile, ToolRules};

/// Words of other versions and names of groups, with the tools that they mean here.
const MEANINGS: [(&str, &[&str]); 14] = [
    ("bash", &["exec"]),
    ("process", &["exec"]),
    ("message", &["message_send"]),
    ("nodes", &["nodes_list", "node_invoke", "node_run"]),
    ("group:runtime", &["exec"]),
    ("group:sessions", &["sessions_list", "sessions_history", "sessions_send"]),
    ("group:messaging", &["message_send"]),
    ("group:nodes", &["nodes_list", "node_invoke", "node_run"]),
    ("group:openclaw", &["*"]),
    ("group:fs", &[]),
    ("group:memory", &[]),
    ("group:web", &[]),
    ("group:ui", &["browser"]),
    ("group:automation", &["gateway"]),
];

/// Tools of a profile; a wide one has all.
const fn profile(profile: ToolProfile) -> &'static [&'static str] {
    match profile {
        ToolProfile::Minimal => &[],
        ToolProfile::Coding => &["exec", "sessions_list", "sessions_history", "sessions_send"],
        ToolProfile::Messaging => &["message_send", "sessions_list", "sessions_history", "sessions_send"],
        ToolProfile::Full => &["*"],
    }
}

/// True when one of these entries names the tool: by its name, by a group, or with `*` for any letters.
fn names(list: &[String], tool: &str) -> bool {
    list.iter().any(|entry| {
        let entry = entry.trim().to_lowercase();
        match MEANINGS.iter().find(|(word, _)| *word == entry) {
            Some((_, tools)) => tools.iter().any(|pattern| fits(pattern, tool)),
            None => fits(&entry, tool),
        }
    })
}

/// Whether a name fits a pattern in which `*` stands for any letters.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What somebody denies who denies running programs: a node runs them, too.
fn denies(deny: &[String], tool: &str) -> bool {
    names(deny, tool) || (tool == "node_run" && names(deny, "exec"))
}

/// One place's rules.
fn allows(rules: &ToolRules, tool: &str) -> bool {
    let also = rules.also_allow.as_deref().is_some_and(|list| names(list, tool));
    let in_profile = rules.profile.is_none_or(|p| profile(p).iter().any(|pattern| fits(pattern, tool)));
    let in_list = rules.allow.as_deref().is_none_or(|list| names(list, tool));
    !denies(&rules.deny, tool) && (also || (in_profile && in_list))
}

/// The rules for a model: those of `provider/model` beat those of its provider.
fn of_model<'c>(
    by_provider: &'c std::collections::BTreeMap<String, ToolRules>,
    model: &ModelRef,
) -> Option<&'c ToolRules> {
    by_provider.get(&model.to_string()).or_else(|| by_provider.get(&model.provider))
}

/// A run, as far as rules name it.
pub struct Named<'a> {
    /// Its agent.
    pub agent: &'a str,
    /// Its session.
    pub session: &'a str,
    /// Every model that it may come to ask.
    pub models: &'a [ModelRef],
    /// Its commands run in a sandbox.
    pub is_sandboxed: bool,
    /// Rules of the chat that it belongs to.
    pub limits: &'a [ToolRules],
}

/// Whether the run may be offered the tool.
pub fn is_allowed(config: &Config, run: &Named<'_>, tool: &str) -> bool {
    let tools = &config.tools;
    let agent = config.agent(run.agent).and_then(|a| a.tools.as_ref());
    let mut general = tools.rules();
    if agent.is_some_and(|a| a.profile.is_some()) {
        // The agent's own profile takes its place.
        general.profile = None;
    }
    let mut rules = vec![general];
    rules.extend(agent.map(openclaw_config::AgentTools::rules));
    for model in run.models {
        rules.extend(of_model(&tools.by_provider, model).cloned());
        rules.extend(agent.and_then(|a| of_model(&a.by_provider, model)).cloned());
    }
    if run.session.contains(":subagent:") {
        rules.extend(tools.subagents.as_ref().map(|subagents| subagents.tools.clone()));
    }
    if run.is_sandboxed {
        let own = agent.and_then(|agent| agent.sandbox.as_ref());
        rules.extend(tools.sandbox.iter().chain(own).map(|sandbox| sandbox.tools.clone()));
    }
    rules.extend(run.limits.iter().cloned());
    // What is to show only some sessions shows none: it cannot be limited in this version.
    let is_partial = tools.sessions.visibility.is_some_and(|v| v != SessionVisibility::All);
    !(is_partial && tool.starts_with("sessions_")) && rules.iter().all(|rules| allows(rules, tool))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<&'static str> {
        crate::tools::TOOLS.iter().map(|(name, _)| *name).collect()
    }

    /// What is left of all tools for a run of `agent` in its main session, with model p/q.
    fn left(text: &str, agent: &str) -> Vec<&'static str> {
        of_session(text, agent, "agent:x:main", &["p/q"])
    }

    fn of_session(text: &str, agent: &str, session: &str, models: &[&str]) -> Vec<&'static str> {
        let config = openclaw_config::parse(text, &|_| None).unwrap().config;
        let models: Vec<ModelRef> = models.iter().filter_map(|m| ModelRef::parse(m)).collect();
        let run = Named { agent, session, models: &models, is_sandboxed: false, limits: &[] };
        all().into_iter().filter(|tool| is_allowed(&config, &run, tool)).collect()
    }

    #[test]
    fn d38_profiles_leave_what_they_name() {
        let of = |profile: &str| left(&format!("{{tools:{{profile:'{profile}'}}}}"), "main");
        assert_eq!(of("minimal"), Vec::<&str>::new());
        assert_eq!(of("messaging"), ["message_send", "sessions_send", "sessions_list", "sessions_history"]);
        assert_eq!(of("coding"), ["exec", "sessions_send", "sessions_list", "sessions_history"]);
        assert_eq!((of("full"), left("{}", "main")), (all(), all()));
        assert_eq!(
            left("{tools:{profile:'minimal',alsoAllow:['nodes']}}", "main"),
            ["node_invoke", "node_run", "nodes_list"]
        );
    }

    #[test]
    fn d38_groups_and_words_of_other_versions_are_understood_and_denying_wins() {
        assert_eq!(left("{tools:{deny:['group:runtime']}}", "main"), left("{tools:{deny:['exec']}}", "main"));
        assert!(!left("{tools:{deny:['Bash']}}", "main").iter().any(|t| ["exec", "node_run"].contains(t)));
        assert_eq!(
            left("{tools:{allow:['group:sessions'],deny:['sessions_send']}}", "main"),
            ["sessions_list", "sessions_history"]
        );
        assert_eq!(left("{tools:{allow:['exec'],deny:['exec']}}", "main"), Vec::<&str>::new());
        assert_eq!(left("{tools:{deny:['*']}}", "main"), Vec::<&str>::new());
        assert_eq!(left("{tools:{allow:['sessions_*t']}}", "main"), ["sessions_list"]);
        // An allow list of tools that are not here allows nothing.
        assert_eq!(left("{tools:{allow:['group:fs','read']}}", "main"), Vec::<&str>::new());
    }

    #[test]
    fn f47_an_agents_rules_hold_for_it_and_for_no_other() {
        let text =
            "{agents:{list:[{id:'main'},{id:'guest',tools:{deny:['exec']}},{id:'Chat',tools:{profile:'messaging'}}]},
            tools:{profile:'coding'}}";
        assert_eq!(left(text, "main"), ["exec", "sessions_send", "sessions_list", "sessions_history"]);
        assert_eq!(left(text, "guest"), ["sessions_send", "sessions_list", "sessions_history"]);
        assert_eq!(left(text, "chat"), ["message_send", "sessions_send", "sessions_list", "sessions_history"]);
    }

    #[test]
    fn d38_rules_of_a_provider_count_for_its_models_fallbacks_too() {
        let text = "{tools:{byProvider:{p:{deny:['exec']},'p/big':{allow:['exec']},x:{profile:'minimal'}}}}";
        let of = |models: &[&str]| of_session(text, "main", "agent:main:main", models);
        assert!(!of(&["p/q"]).contains(&"exec") && of(&["p/q"]).contains(&"sessions_list"));
        assert_eq!(of(&["p/big"]), ["exec"]);
        assert_eq!(of(&["other/m"]), all());
        assert_eq!(of(&["other/m", "x/y"]), Vec::<&str>::new(), "a fallback may be asked with the same tools");
    }

    #[test]
    fn d38_inside_a_sandbox_the_rules_for_it_count_as_well() {
        let text = "{agents:{list:[{id:'main'},{id:'guest',tools:{sandbox:{tools:{deny:['message']}}}}]},
            tools:{deny:['nodes'],sandbox:{tools:{allow:['exec','message','nodes']}}}}";
        let config = openclaw_config::parse(text, &|_| None).unwrap().config;
        let of = |agent, is_sandboxed| -> Vec<&str> {
            let run = Named { agent, session: "agent:x:main", models: &[], is_sandboxed, limits: &[] };
            all().into_iter().filter(|tool| is_allowed(&config, &run, tool)).collect()
        };
        assert_eq!(of("main", true), ["exec", "message_send"]);
        assert_eq!(of("guest", true), ["exec"]);
        let free = ["exec", "message_send", "sessions_send", "gateway", "browser", "sessions_list", "sessions_history"];
        assert_eq!((of("main", false), of("guest", false)), (free.to_vec(), free.to_vec()));
    }

    #[test]
    fn d38_rules_of_the_chat_take_away_and_give_nothing() {
        let config = openclaw_config::parse("{tools:{deny:['exec']}}", &|_| None).unwrap().config;
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let limits = [
            ToolRules { allow: list(&["exec", "sessions_list"]), ..ToolRules::default() },
            ToolRules { also_allow: list(&["exec"]), ..ToolRules::default() },
        ];
        let run = Named { agent: "main", session: "s", models: &[], is_sandboxed: false, limits: &limits };
        let left: Vec<&str> = all().into_iter().filter(|tool| is_allowed(&config, &run, tool)).collect();
        assert_eq!(left, ["sessions_list"]);
    }

    #[test]
    fn d38_subagents_and_parts_of_sessions() {
        let text = "{tools:{subagents:{tools:{deny:['message']}}}}";
        assert!(left(text, "main").contains(&"message_send"));
        assert!(!of_session(text, "main", "agent:main:subagent:1", &[]).contains(&"message_send"));
        for (word, some) in [("self", false), ("tree", false), ("agent", false), ("all", true)] {
            let left = left(&format!("{{tools:{{sessions:{{visibility:'{word}'}}}}}}"), "main");
            assert_eq!(left.contains(&"sessions_list"), some, "{word}");
            assert!(left.contains(&"exec"));
        }
    }
}
