use std::path::Path;

use openclaw_config::{ECHO_MODEL, resolve_model};

use super::{ask::Scripted, *};
use crate::tests::session;

fn without_network() -> OnboardArgs {
    OnboardArgs {
        non_interactive: true,
        accept_risk: true,
        skip_health: true,
        skip_checks: true,
        ..OnboardArgs::default()
    }
}

async fn done(session: &Session, args: &OnboardArgs) -> Done {
    steps(session, args, None).await.unwrap()
}

async fn asked(
    session: &Session,
    args: &OnboardArgs,
    answers: &[(&'static str, &str)],
) -> (Result<Done, Failure>, Scripted) {
    let mut person = Scripted::new(answers);
    let args = OnboardArgs { non_interactive: false, ..args.clone() };
    let done = steps(session, &args, Some(&mut person)).await;
    (done, person)
}

fn config(session: &Session) -> std::sync::Arc<openclaw_config::Config> {
    Found::read(session).unwrap().config
}

fn file(session: &Session) -> Option<String> {
    config_file::read(&session.paths.config).unwrap()
}

#[tokio::test]
async fn row_054_055_there_is_a_token_even_on_loopback() {
    let home = tempfile::tempdir().unwrap();
    let session = session(home.path(), false);
    let args = OnboardArgs { gateway_bind: Some(crate::args::BindMode::Loopback), ..without_network() };
    let left = done(&session, &args).await;
    let config = config(&session);
    assert_eq!(config.gateway.auth.token.as_ref().unwrap().expose().len(), 48);
    assert_eq!(resolve_model(&config, "main").unwrap().primary.to_string(), ECHO_MODEL, "D35");
    assert!(left.written.is_new && next(&session, &left) == "openclaw gateway");
    assert!(home.path().join(".openclaw/workspace").is_dir());
}

#[tokio::test]
async fn row_086_the_development_profile_has_a_workspace_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let session = session(home.path(), true);
    done(&session, &without_network()).await;
    let expected = home.path().join(".openclaw/workspace-dev");
    assert_eq!(config(&session).agents.defaults.workspace.as_deref().map(Path::new), Some(&*expected));
    assert!(config(&session).gateway.port.is_none(), "19001 is its own already");
}

#[tokio::test]
async fn d21_a_second_run_changes_nothing_and_flags_do_not_overwrite() {
    let home = tempfile::tempdir().unwrap();
    let session = session(home.path(), false);
    done(&session, &without_network()).await;
    let before = file(&session);
    let again = done(&session, &without_network()).await;
    assert!(again.written.set.is_empty() && !again.written.is_new);
    assert_eq!(file(&session), before);

    let args = OnboardArgs {
        gateway_token: Some("another-token-0123456789".into()),
        mode: Some(args::Mode::Remote),
        ..without_network()
    };
    let kept = done(&session, &args).await;
    assert!(kept.notes.iter().any(|note| note.starts_with("gateway.auth was there")), "{:?}", kept.notes);
    assert!(kept.notes.iter().any(|note| note.starts_with("gateway.mode was there")), "{:?}", kept.notes);
    assert_eq!(file(&session), before);
}

#[tokio::test]
async fn d35_the_built_in_model_gives_way_to_the_first_real_one_and_no_other_does() {
    let home = tempfile::tempdir().unwrap();
    let session = session(home.path(), false);
    crate::first_file::write(&session, None, None).unwrap();
    let text = file(&session).unwrap().replacen('{', "{ // mine", 1);
    config_file::replace(&session.paths.config, &text).unwrap();
    let with = |provider: &str, model: &str| OnboardArgs {
        auth_choice: Some(provider.into()),
        api_key: Some("sk-0123456789".into()),
        model: Some(model.into()),
        ..without_network()
    };
    done(&session, &with("openai", "gpt-x")).await;
    let model = || resolve_model(&config(&session), "main").unwrap().primary.to_string();
    assert_eq!(model(), "openai/gpt-x");
    assert!(file(&session).unwrap().contains("// mine"));
    let kept = done(&session, &with("anthropic", "claude-x")).await;
    assert_eq!((model().as_str(), &*kept.written.kept), ("openai/gpt-x", &["agents.defaults.model".to_owned()][..]));
}

#[tokio::test]
async fn what_cannot_be_asked_and_has_no_default_is_a_usage_error_and_writes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let session = session(home.path(), false);
    let of = |change: fn(&mut OnboardArgs)| {
        let mut args = without_network();
        change(&mut args);
        args
    };
    for (args, word) in [
        (of(|a| a.accept_risk = false), "--accept-risk"),
        (of(|a| a.mode = Some(args::Mode::Remote)), "--remote-url"),
        (of(|a| a.gateway_auth = Some(crate::args::Auth::Password)), "--gateway-password-file"),
        (of(|a| a.auth_choice = Some("nobody".into())), "--base-url"),
        (of(|a| a.auth_choice = Some("ollama".into())), "--model"),
        (of(|a| a.api_key = Some("k".into())), "--provider"),
        (of(|a| a.gateway_bind = Some(crate::args::BindMode::Custom)), "customBindHost"),
        (of(|a| a.non_interactive = false), "terminal"),
    ] {
        let failure = run(&session, &args).await.unwrap_err();
        assert!(failure.code() == 2 && failure.to_string().contains(word), "{word}: {failure}");
        assert_eq!(file(&session), None, "{word}");
    }
}

#[tokio::test]
async fn d47_commands_are_asked_about_once() {
    let home = tempfile::tempdir().unwrap();
    let session = session(home.path(), false);
    let answers = [
        ("Where does the gateway run?", "here"),
        ("Which model provider?", "none"),
        ("Token of a Telegram bot", ""),
        ("When an agent of yours wants to run a command?", "open"),
        ("Shall the system start", "no"),
    ];
    let (left, person) = asked(&session, &without_network(), &answers).await;
    assert!(person.answers.is_empty() && left.unwrap().written.is_new);
    let config = config(&session);
    let exec = &config.tools.exec;
    assert_eq!(
        (exec.security, exec.ask),
        (Some(openclaw_config::ExecSecurity::Full), Some(openclaw_config::ExecAsk::Off))
    );

    let second = [("Which model provider?", ""), ("Token of a Telegram bot", ""), ("Shall the system start", "no")];
    let (left, person) = asked(&session, &without_network(), &second).await;
    assert!(left.is_ok() && person.answers.is_empty(), "{:?}", person.told);
    let args = OnboardArgs { exec_access: Some(args::ExecAccess::Deny), ..without_network() };
    assert!(done(&session, &args).await.notes.iter().any(|note| note.starts_with("tools.exec was there")));
}

#[tokio::test]
async fn who_leaves_leaves_nothing_behind() {
    let answers = [
        ("Where does the gateway run?", "here"),
        ("Which model provider?", "openai"),
        ("The key of openai", "sk-0123456789"),
    ];
    for many in 0..=answers.len() {
        let home = tempfile::tempdir().unwrap();
        let session = session(home.path(), false);
        let (left, _) = asked(&session, &without_network(), &answers[..many]).await;
        assert_eq!(left.err(), Some(Failure::Quiet(130)), "after {many} answers");
        assert!(!home.path().join(".openclaw").exists(), "after {many} answers");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_not_built_upon() {
    let home = tempfile::tempdir().unwrap();
    let session = session(home.path(), false);
    config_file::replace(&session.paths.config, "{gateway:{bind:'mars'}}").unwrap();
    let failure = run(&session, &without_network()).await.unwrap_err();
    assert!(failure.code() == 78 && failure.to_string().contains("gateway.bind"), "{failure}");
    assert_eq!(file(&session).as_deref(), Some("{gateway:{bind:'mars'}}"));
}

#[tokio::test]
async fn a_gateway_elsewhere_needs_its_address_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let session = session(home.path(), false);
    let args = OnboardArgs {
        mode: Some(args::Mode::Remote),
        remote_url: Some("wss://gateway.example".into()),
        remote_token: Some("token-of-the-other-one".into()),
        ..without_network()
    };
    let left = done(&session, &args).await;
    let config = config(&session);
    assert_eq!(config.gateway.remote.url.as_deref(), Some("wss://gateway.example"));
    assert!(!left.is_local && config.gateway.auth.token.is_none() && next(&session, &left) == "openclaw health");
    assert!(!home.path().join(".openclaw/workspace").exists());
}

#[tokio::test]
async fn whoever_wants_is_asked_for_places_too() {
    let home = tempfile::tempdir().unwrap();
    let session = session(home.path(), false);
    let args = OnboardArgs {
        flow: Some(args::Flow::Advanced),
        skip_channels: true,
        no_install_daemon: true,
        ..without_network()
    };
    let answers = [
        ("Where does the gateway run?", ""),
        ("Where do agents work?", "~/elsewhere"),
        ("Port of the gateway", "21400"),
        ("Where does it listen?", "lan"),
        ("Which model provider?", ""),
        ("When an agent of yours", "deny"),
    ];
    let (left, person) = asked(&session, &args, &answers).await;
    assert!(left.is_ok() && person.answers.is_empty(), "{:?}", person.told);
    let config = config(&session);
    assert_eq!((config.gateway.port, config.gateway.bind), (Some(21400), openclaw_config::Bind::Lan));
    assert!(config.gateway.auth.token.is_some() && home.path().join("elsewhere").is_dir());
}

/// Nobody listens there, so the key is refused as often as it is typed.
#[tokio::test]
async fn a_refused_key_can_be_typed_again_and_left_out() {
    let home = tempfile::tempdir().unwrap();
    let session = session(home.path(), false);
    let args = OnboardArgs { skip_channels: true, skip_checks: false, no_install_daemon: true, ..without_network() };
    let answers = [
        ("Where does the gateway run?", ""),
        ("Which model provider?", "another one"),
        ("A name for it", "mine"),
        ("Its address", "http://127.0.0.1:1/v1"),
        ("The key of mine", "wrong-key-0123456789"),
        ("Which model of mine?", "m"),
        ("And now?", "type it again"),
        ("The key of mine", "wrong-key-again-0123456789"),
        ("Which model of mine?", "m"),
        ("And now?", "leave it out"),
        ("When an agent of yours", ""),
    ];
    let (left, person) = asked(&session, &args, &answers).await;
    assert!(left.unwrap().checks.is_empty() && person.answers.is_empty(), "{:?}", person.told);
    assert_eq!(
        person.told.iter().filter(|text| text.starts_with("mine/m refuses it: ")).count(),
        2,
        "{:?}",
        person.told
    );
    let text = file(&session).unwrap();
    assert!(text.contains(ECHO_MODEL) && !text.contains("wrong-key") && !text.contains("mine"), "{text}");
}

#[tokio::test]
async fn row_070_a_new_profile_gets_a_port_and_one_that_exists_keeps_its_own() {
    let home = tempfile::tempdir().unwrap();
    let session = crate::tests::session_with(home.path(), false, &[("OPENCLAW_PROFILE", "rescue")]);
    done(&session, &without_network()).await;
    assert_eq!(config(&session).gateway.port, Some(19789));
    config_file::replace(&session.paths.config, "{gateway: {mode: 'local'}}").unwrap();
    done(&session, &without_network()).await;
    assert_eq!(config(&session).gateway.port, None, "who knows where it is would not find it any more");
}
