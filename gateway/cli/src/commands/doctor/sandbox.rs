//! Whether what asks for a sandbox has one (D38).

use super::check::Check;
use crate::{
    config_file::{self, State},
    sandbox,
    session::Session,
};

/// `exec.sandbox`, for each kind that the configuration asks for.
pub fn checks(session: &Session) -> Vec<Check> {
    const ID: &str = "exec.sandbox";
    let Ok(State::Valid(loaded)) = config_file::load(session) else { return vec![] };
    let found = sandbox::told(&session.paths, &loaded);
    let check = |finding: openclaw_server::sandbox::Finding| {
        if finding.is_there {
            return Check::ok(ID, finding.text);
        }
        let fix = "run the gateway on Linux 6.2 or newer with Landlock, in a workspace of its own; or switch the sandbox off, \
                   and commands run with all rights of the gateway's user: `openclaw config set agents.defaults.sandbox.mode off`";
        Check::warn(ID, finding.text, fix)
    };
    found.into_iter().map(check).collect()
}
