//! Which agents there are, and where they work.

use crate::{AgentEntry, Config, DEFAULT_AGENT, model_keys::named_profiles_file};

/// Where an agent works, as the file says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workplace<'c> {
    /// In this directory.
    Named(&'c str),
    /// In that of the profile.
    Default,
    /// In one of its own beside that of the profile.
    Own(&'c str),
}

impl Config {
    /// The entry of the agent `id`, in whatever case it is written.
    pub fn agent(&self, id: &str) -> Option<&AgentEntry> {
        self.agents.list.iter().find(|agent| agent.id.trim().eq_ignore_ascii_case(id.trim()))
    }

    /// The agent of this id as sessions name it; `None` when there is none.
    pub fn agent_named(&self, id: &str) -> Option<&str> {
        let is_only = self.agents.list.is_empty() && id.trim().eq_ignore_ascii_case(DEFAULT_AGENT);
        if is_only { Some(DEFAULT_AGENT) } else { self.agent(id).map(|agent| agent.id.as_str()) }
    }

    /// The agent of requests that name none: the one marked as default, else the first, else `main`.
    pub fn default_agent(&self) -> &str {
        let list = &self.agents.list;
        let chosen = list.iter().find(|agent| agent.default).or_else(|| list.first());
        chosen.map_or(DEFAULT_AGENT, |agent| agent.id.as_str())
    }

    /// Where an agent works: where its entry says. Otherwise the default agent, and one that is not in the list, where
    /// `agents.defaults.workspace` says, and each other one in a directory of its own.
    pub fn workplace<'c>(&'c self, id: &str) -> Workplace<'c> {
        let said = |dir: &'c Option<String>| dir.as_deref().map(str::trim).filter(|dir| !dir.is_empty());
        let entry = self.agent(id);
        match entry.and_then(|agent| said(&agent.workspace)) {
            Some(dir) => return Workplace::Named(dir),
            None if entry.is_some_and(|agent| agent.id != self.default_agent()) => {}
            None => return said(&self.agents.defaults.workspace).map_or(Workplace::Default, Workplace::Named),
        }
        entry.map_or(Workplace::Default, |agent| Workplace::Own(&agent.id))
    }

    /// Files with keys of agents, where the configuration says in which directory they are; others lie below the state directory.
    pub fn profiles(&self) -> Vec<String> {
        let dirs = self.agents.list.iter().filter_map(|agent| agent.agent_dir.as_deref());
        dirs.filter(|dir| !dir.trim().is_empty()).map(named_profiles_file).collect()
    }

    /// Ids become what sessions' keys have of them: lower case.
    pub(crate) fn lower_ids(&mut self) {
        self.agents.list.iter_mut().for_each(|agent| agent.id.make_ascii_lowercase());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_agent_has_a_place_of_its_own() {
        let text = "{agents:{defaults:{workspace:'~/w'},list:[{id:'a'},{id:'Main',default:true},
            {id:'named',workspace:' /n '},{id:'empty',workspace:''}]}}";
        let config = crate::parse(text, &|_| None).unwrap().config;
        let of = |id: &str| config.workplace(id);
        assert_eq!(of("main"), Workplace::Named("~/w"));
        assert_eq!((of("a"), of("empty")), (Workplace::Own("a"), Workplace::Own("empty")));
        assert_eq!(of("NAMED"), Workplace::Named("/n"));
        assert_eq!(of("nobody"), Workplace::Named("~/w"));
        assert_eq!(Config::default().workplace("main"), Workplace::Default);
        assert_eq!((config.default_agent(), Config::default().default_agent()), ("main", "main"));
    }
}
