//! What agents may do besides talking: which tools a run has, and which of them may be open over HTTP once a route asks
//! (S09).
//!
//! Tools use the services that the handlers of methods use, so that a message is sent, a node is asked and a transcript is
//! read by one piece of code, with one set of checks.

mod browser;
mod gateway;
mod masked;
mod nodes;
mod own;
mod rules;
mod sessions;

use std::sync::Arc;

pub use masked::Masked;
use openclaw_agent::tool::{Exec, Tool};
use openclaw_config::{Config, ExecAsk, ExecSecurity, ModelRef};
use openclaw_platform::Platform;

use crate::{
    bulk_reads::BulkReads,
    channels::Channels,
    configuration::{edits::ConfigEdits, look::ConfigLook},
    delivery::sends::Sends,
    devices::Devices,
    exec_gate::{self, Gate},
    nodes::{Nodes, commands::Commands},
    options::WorkspaceOf,
    rights::{self, Effect},
    runs::{Run, Runs, Toolbox},
    sandbox,
    secrets::Secrets,
    sessions::{entry::SessionEntry, key, listing::Listing, store::Sessions},
    settings::Settings,
};

/// Every tool, and whether it can run commands, reach people, or start work: that is denied over HTTP unless the
/// configuration allows it by name (S09).
const TOOLS: [(&str, bool); 10] = [
    ("exec", true),
    ("node_invoke", true),
    ("node_run", true),
    ("message_send", true),
    ("sessions_send", true),
    ("gateway", true),
    ("browser", true),
    ("nodes_list", false),
    ("sessions_list", false),
    ("sessions_history", false),
];

/// May a tool be called over HTTP? What is harmless, and what `allowed` names; `*` names nothing (S09). Asked by nobody yet:
/// the route comes with the web surface.
pub fn is_open_over_http(config: &Config, run: &rules::Named<'_>, allowed: &[String], name: &str) -> bool {
    let known = TOOLS.iter().find(|(tool, _)| *tool == name);
    let named = allowed.iter().any(|t| t.trim() == name);
    rules::is_allowed(config, run, name) && known.is_some_and(|(_, dangerous)| !dangerous || named)
}

/// What tools use.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// The configuration.
    pub settings: Settings,
    /// Browsers.
    pub browser: Arc<openclaw_browser::Control>,
    /// The gate for commands on this machine.
    pub exec_gate: exec_gate::Deps,
    /// What no tool may give.
    pub secrets: Arc<Secrets>,
    /// Where agents work.
    pub workspace_of: WorkspaceOf,
    /// Accounts that send.
    pub channels: Arc<Channels>,
    /// Sends.
    pub sends: Arc<Sends>,
    /// Paired devices, nodes among them.
    pub devices: Arc<Devices>,
    /// Connected nodes.
    pub nodes: Arc<Nodes>,
    /// What may be asked of them.
    pub node_commands: Arc<Commands>,
    /// Sessions and transcripts.
    pub sessions: Arc<Sessions>,
    /// Lists of sessions.
    pub listing: Arc<Listing>,
    /// Places for large reads.
    pub reads: Arc<BulkReads>,
    /// Looks at the configuration file.
    pub config_look: Arc<ConfigLook>,
    /// Changes it.
    pub config_edits: Arc<ConfigEdits>,
}

/// The tools that this gateway offers to its runs.
pub struct Offered(Arc<Deps>);

impl Offered {
    /// The tools of a gateway with these services.
    pub fn new(deps: Deps) -> Self {
        Self(Arc::new(deps))
    }
}

impl Toolbox for Offered {
    /// None unless who asked may have commands run (D47).
    fn for_run(
        &self,
        runs: &Arc<Runs>,
        run: &Arc<Run>,
        entry: &SessionEntry,
        models: &[ModelRef],
    ) -> Vec<Arc<dyn Tool>> {
        let deps = &self.0;
        let config = deps.settings.get();
        if run.request.is_nested || !rights::may(&config, &run.request.by, Effect::Commands) {
            return vec![];
        }
        let session = run.request.session_key.as_str();
        let agent = key::agent_of(&config, session);
        let asked = (security(entry.exec_security.as_deref()), ask(entry.exec_ask.as_deref()));
        let context = own::Context::new(deps.clone(), runs.clone(), run, agent);
        let processes = &deps.platform.processes;
        let workspace = (deps.workspace_of)(&config, agent);
        let confinement = sandbox::confinement(&config, &workspace, agent, session);
        // What asks for a sandbox gets one, or no commands: not here, and not on a node, where there is none (D38).
        let homeless = confinement.as_ref().is_some_and(|wanted| processes.confines(wanted).is_err());
        let exec = || {
            let gate = Arc::new(Gate::new(deps.exec_gate.clone(), agent, session, asked));
            let exec = Exec::new(processes.clone(), workspace.clone(), gate);
            Arc::new(exec.confined(confinement.clone())) as Arc<dyn Tool>
        };
        let forbidden = config.tools.exec.security == Some(ExecSecurity::Deny) || asked.0 == Some(ExecSecurity::Deny);
        let limits = rights::limits(&config, &run.request.by, session);
        let named = rules::Named { agent, session, models, is_sandboxed: confinement.is_some(), limits: &limits };
        let names = TOOLS.iter().map(|(name, _)| *name).filter(|name| rules::is_allowed(&config, &named, name));
        names
            .filter_map(|name| match name {
                "exec" => (!forbidden && !homeless).then(exec),
                // A page that it opens is outside of any sandbox.
                "browser" if confinement.is_some() || !config.browser.enabled => None,
                "node_run" if forbidden || confinement.is_some() => None,
                // A run that is kept in could let itself out.
                "gateway" if confinement.is_some() || !rights::may(&config, &run.request.by, Effect::Configure) => None,
                name => own::Own::named(&context, name).map(|tool| Arc::new(tool) as Arc<dyn Tool>),
            })
            .map(|tool| Arc::new(Masked::new(tool, &deps.secrets)) as Arc<dyn Tool>)
            .collect()
    }
}

fn security(word: Option<&str>) -> Option<ExecSecurity> {
    Some(match word? {
        "full" => ExecSecurity::Full,
        "allowlist" => ExecSecurity::Allowlist,
        _ => ExecSecurity::Deny,
    })
}

fn ask(word: Option<&str>) -> Option<ExecAsk> {
    Some(match word? {
        "off" => ExecAsk::Off,
        "on-miss" => ExecAsk::OnMiss,
        _ => ExecAsk::Always,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use openclaw_config::Tools;

    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|t| (*t).to_owned()).collect()
    }

    const RUN: rules::Named<'_> =
        rules::Named { agent: "main", session: "agent:main:main", models: &[], is_sandboxed: false, limits: &[] };

    fn open(tools: &Tools, allowed: &[&str]) -> Vec<&'static str> {
        let config = Config { tools: tools.clone(), ..Config::default() };
        TOOLS.iter().map(|(t, _)| *t).filter(|t| is_open_over_http(&config, &RUN, &names(allowed), t)).collect()
    }

    /// Written out by hand: what can run commands, reach people or start work needs its name. S09 itself is not claimed
    /// before there is a route that asks.
    #[test]
    fn dangerous_tools_are_known_by_name() {
        let harmless = ["nodes_list", "sessions_list", "sessions_history"];
        assert_eq!(open(&Tools::default(), &[]), harmless);
        assert_eq!(open(&Tools::default(), &["*"]), harmless);
        assert_eq!(open(&Tools::default(), &["exec"])[0], "exec");
        let denied = Tools { deny: names(&["exec"]), ..Tools::default() };
        assert_eq!(open(&denied, &["exec"]), harmless);
        assert!(!is_open_over_http(&Config::default(), &RUN, &names(&["made_up"]), "made_up"));
    }

    /// `exec` is a tool of the agent's crate and describes itself.
    #[test]
    fn every_tool_is_described_and_stands_in_the_docs() {
        let own = TOOLS.iter().map(|(name, _)| *name).filter(|name| *name != "exec");
        let silent: Vec<&str> = own.filter(|name| own::description(name).is_none()).collect();
        assert!(silent.is_empty(), "never offered, give them a description in tools/own.rs: {silent:?}");
        let docs = include_str!("../../../docs/nodes.md");
        let list = docs.split_once("## Tools of agents\n\n").unwrap().1.split_once('.').unwrap().0;
        let listed: BTreeSet<&str> = list.split('`').skip(1).step_by(2).collect();
        assert_eq!(listed, TOOLS.iter().map(|(name, _)| *name).collect(), "the list in docs/nodes.md and TOOLS differ");
    }

    /// A word that is no policy counts as the strictest one.
    #[test]
    fn s19_unknown_words_of_a_session_are_strict() {
        assert_eq!((security(Some("x")), ask(Some("x"))), (Some(ExecSecurity::Deny), Some(ExecAsk::Always)));
        assert_eq!((security(None), ask(None)), (None, None));
    }
}
