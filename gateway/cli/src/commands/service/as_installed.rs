//! What an installation of today would write for a service that is there: by the service's places, secrets and keys, not by those
//! that this terminal happens to have.

use openclaw_service::{Kind, PROFILE, Parsed};

use super::wanted::{Asked, Wanted, wanted};
use crate::{
    args::Global,
    env::{self, Paths},
    failure::Failure,
    session::Session,
};

/// Variables that decide something for a gateway: of this terminal they say nothing about the service.
const DECISIVE: [&str; 5] = ["OPENCLAW_STATE_DIR", "OPENCLAW_CONFIG_PATH", env::PORT, env::TOKEN, env::PASSWORD];

/// The definition of an installation with the port and the account that the service has.
///
/// # Errors
/// Config: why a gateway with the service's places could not start.
pub fn wanted_as_installed(session: &Session, kind: Kind, there: &Parsed) -> Result<Wanted, Failure> {
    let session = as_installed(session, there)?;
    let asked = Asked { port: there.port(), user: there.setting("Service.User"), ..Asked::default() };
    wanted(&session, kind, asked, Some(there))
}

fn as_installed(session: &Session, there: &Parsed) -> Result<Session, Failure> {
    let mut env = session.env.clone();
    for name in DECISIVE {
        env.take(name);
    }
    env.add(there.environment.iter().filter(|(name, _)| name != "PATH").cloned().collect());
    env.add(vec![(PROFILE.to_owned(), session.paths.profile.clone().unwrap_or_default())]);
    let paths = Paths::resolve(&Global::default(), &env)?;
    Ok(Session { env, paths, ..session.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config_file, tests::session_with};

    #[test]
    fn row_200_a_terminals_variables_change_nothing_of_what_the_service_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        config_file::replace(&dir.path().join("mine/openclaw.json"), "{gateway:{mode:'local'}}").unwrap();
        let (elsewhere, mine) = (path("elsewhere"), path("mine"));
        let vars = [("OPENCLAW_STATE_DIR", elsewhere.as_str()), (env::TOKEN, "terminal"), (env::PORT, "5")];
        let session = session_with(dir.path(), false, &vars);
        let there = Parsed {
            command: ["/x/openclaw", "gateway", "--port", "21001"].map(str::to_owned).to_vec(),
            environment: vec![
                ("OPENCLAW_STATE_DIR".to_owned(), mine.clone()),
                (env::TOKEN.to_owned(), "the service's".to_owned()),
            ],
            ..Parsed::default()
        };
        let wanted = wanted_as_installed(&session, Kind::SystemdUser, &there).unwrap();
        let value = |name: &str| wanted.definition.environment.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(value("OPENCLAW_STATE_DIR"), Some(mine.as_str()));
        assert_eq!((value(env::TOKEN), value(env::PORT)), (Some("the service's"), Some("21001")));
    }
}
