//! Directories in which agents work.

use super::check::Check;
use crate::{
    config_file::{self, State},
    session::Session,
    workspaces,
};

/// `workspaces`: those of all agents. One that is missing is made when `fix`.
pub fn checks(session: &Session, is_running: bool, fix: bool) -> Vec<Check> {
    const ID: &str = "workspaces";
    if !matches!(config_file::read(&session.paths.config), Ok(Some(_))) {
        return vec![];
    }
    let Ok(State::Valid(loaded)) = config_file::load(session) else { return vec![] };
    let all = workspaces::all(&session.paths, &loaded.config);
    let missing: Vec<_> = all.iter().filter(|(_, dir)| !dir.is_dir()).collect();
    if missing.is_empty() {
        return vec![Check::ok(ID, format!("{} there", all.len()))];
    }
    let check = |(agent, dir): &(String, std::path::PathBuf)| {
        let what = format!("the working directory {} of agent {agent}", dir.display());
        if !fix && !is_running {
            return Check::note(ID, format!("{what} is missing; the next start makes it"));
        }
        if !fix {
            let text = format!("{what} is missing: its commands fail");
            return Check::warn(ID, text, "`openclaw doctor --repair` makes it");
        }
        match workspaces::make(dir) {
            Ok(()) => Check::fixed(ID, format!("{what} was missing and is made")),
            Err(error) => Check::error(
                ID,
                format!("{what} cannot be made: {error}"),
                "name another one, or see who may write there",
            ),
        }
    };
    missing.into_iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::check::Verdict, *};
    use crate::tests::session;

    #[test]
    fn a_missing_workspace_is_told_then_made_and_one_that_cannot_be_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        assert_eq!(checks(&session, false, true), []);
        let file = "{agents: {list: [{id: 'main'}, {id: 'far', workspace: '/proc/none'}]}}";
        config_file::replace(&session.paths.config, file).unwrap();
        let verdicts =
            |is_running, fix| checks(&session, is_running, fix).iter().map(|c| c.verdict).collect::<Vec<_>>();
        assert_eq!(verdicts(false, false), [Verdict::Note, Verdict::Note]);
        assert_eq!(verdicts(true, false), [Verdict::Warn, Verdict::Warn]);
        assert_eq!(verdicts(false, true), [Verdict::Fixed, Verdict::Error]);
        assert!(session.paths.default_workspace().is_dir());
        assert_eq!(verdicts(false, true), [Verdict::Error]);
    }
}
