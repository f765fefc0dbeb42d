//! `--generate-gateway-token`: a token for a gateway that has no secret yet. One that is there is never replaced.

use openclaw_config::{
    AuthMode, Path,
    change::{Edit, change},
};
use openclaw_platform::{EntropyExt as _, os::OsEntropy};

use super::{ask::Asking, check::Check};
use crate::{
    args::RunArgs,
    commands::config::change::told,
    config_around::Around,
    config_file::{self, State},
    failure::Failure,
    first_file::TOKEN_BYTES,
    gateway_plan::credentials,
    session::Session,
};

const ID: &str = "gateway.token";

/// `gateway.token`
pub fn generate(session: &Session, asking: Asking) -> Check {
    let file = session.paths.config.display();
    let config = match config_file::load(session) {
        Ok(State::Valid(loaded)) => loaded.config,
        Ok(State::Invalid(_)) => {
            return Check::error(ID, format!("no token was put into {file}, which cannot be used"), "correct it first");
        }
        Err(failure) => return Check::error(ID, failure.to_string(), "see who may read it"),
    };
    if matches!(config_file::read(&session.paths.config), Ok(None)) {
        let fix = format!("`{} setup` writes one with a fresh token", session.paths.command());
        return Check::warn(ID, format!("there is no {file} to put a token into"), fix);
    }
    let auth = &config.gateway.auth;
    let names_another = auth.mode == Some(AuthMode::Password)
        || [auth.token.is_some(), auth.password.is_some(), auth.token_file.is_some(), auth.password_file.is_some()]
            .contains(&true);
    match credentials(session, &config, &RunArgs::default()) {
        Ok(_) => return Check::ok(ID, "the gateway has a secret; nothing was changed"),
        Err(failure) if names_another => {
            let text = format!("no token was generated, because {file} names another secret: {failure}");
            return Check::error(ID, text, "correct what it names, or take it out");
        }
        Err(_) => {}
    }
    if !asking.may(&format!("Put a fresh token into {file}?")) {
        return Check::note(ID, "no token was generated");
    }
    match write(session) {
        Ok(()) => Check::fixed(
            ID,
            format!("a fresh token stands in gateway.auth.token of {file}; the file as it was is {file}.bak"),
        ),
        Err(failure) => Check::error(ID, failure.to_string(), "put one into gateway.auth.token by hand"),
    }
}

fn write(session: &Session) -> Result<(), Failure> {
    let file = &session.paths.config;
    let path = Path::parse("gateway.auth.token").map_err(|e| Failure::Runtime(e.to_string()))?;
    let edit = Edit::Set(path, OsEntropy.hex(TOKEN_BYTES).into());
    config_file::change(file, |old| {
        let changed =
            change(old.unwrap_or_default(), &edit, &Around(session)).map_err(|refused| told(file, refused))?;
        Ok((Some(changed.text), ()))
    })
}

#[cfg(test)]
mod tests {
    use super::{super::check::Verdict, *};
    use crate::tests::session;

    #[test]
    fn a_missing_token_is_made_and_one_that_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        assert_eq!(generate(&session, Asking::Nobody).verdict, Verdict::Warn);
        assert!(!session.paths.config.exists());
        config_file::replace(&session.paths.config, "{ // mine\n gateway: { mode: 'local' } }").unwrap();
        let made = generate(&session, Asking::Nobody);
        assert_eq!(made.verdict, Verdict::Fixed, "{made:?}");
        let text = config_file::read(&session.paths.config).unwrap().unwrap();
        let config = openclaw_config::parse(&text, &|_| None).unwrap().config;
        let token = config.gateway.auth.token.unwrap();
        assert_eq!(token.expose().len(), 2 * TOKEN_BYTES);
        assert!(text.contains("// mine") && !made.text.contains(token.expose()), "{made:?}");
        assert_eq!(generate(&session, Asking::Nobody).verdict, Verdict::Ok);
        assert_eq!(config_file::read(&session.paths.config).unwrap().unwrap(), text);
        for other in ["{gateway:{mode:'local', auth:{tokenFile:'/none'}}}", "{gateway:{auth:{mode:'password'}}}"] {
            config_file::replace(&session.paths.config, other).unwrap();
            assert_eq!(generate(&session, Asking::Nobody).verdict, Verdict::Error, "{other}");
            assert_eq!(config_file::read(&session.paths.config).unwrap().unwrap(), other);
        }
        config_file::replace(&session.paths.config, "{ broken").unwrap();
        assert_eq!(generate(&session, Asking::Nobody).verdict, Verdict::Error);
    }
}
