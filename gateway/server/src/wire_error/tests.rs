//! What clients are told, written out by hand: a code, a reason, a wait or a word that changes here changes for every client.

use openclaw_config::AuthMode;
use openclaw_protocol::{nodes::NodeError, scope::Scope};
use serde_json::json;

use super::*;
use crate::{
    approvals::{self, Unusable},
    auth,
    bulk_reads::NotRead,
    channels::{NotEnclosed, Unreachable, fetch::FetchError},
    delivery::{self, NoPlace, NoRoom, NotKept, NotSent, Reason, StillPending, Undelivered},
    idempotency,
    inbound::{NotInjected, NotSaid, images::BadImages},
    nodes::{AnswerNotKept, InvokeError, NotAllowed, NotRun, TooMuch, Unsound},
    rights,
    runs::{Failed, NotAccepted, NotQueued},
    sessions::{
        entry::Closed,
        not_removed::{NotArchived, NotRemoved},
    },
};

/// Code, reason, the other details, the wait and the words.
fn row(error: impl Into<Failure>) -> String {
    let error = error.into().into_parts().0;
    let mut details = error.details.unwrap_or_default();
    let reason = details["code"].take();
    let others = details.as_object().into_iter().flatten().filter(|(key, _)| *key != "code");
    let others: Vec<_> = others.map(|(key, value)| format!(" {key}={value}")).collect();
    let wait = match (error.retryable, error.retry_after_ms) {
        (None, None) => String::new(),
        (Some(true), None) => " again".to_owned(),
        (Some(true), Some(ms)) => format!(" after {ms}"),
        other => format!(" {other:?}"),
    };
    let (code, reason) = (error.code.as_str(), reason.as_str().unwrap_or_default());
    format!("{code} {reason}{}{wait}: {}", others.concat(), error.message)
}

fn rows<T: Into<Failure>, const N: usize>(errors: [T; N]) -> [String; N] {
    errors.map(row)
}

/// By way of the wire's error, for those that no handler of a method fails with.
fn shape(error: impl Into<ErrorShape>) -> Failure {
    error.into().into()
}

#[test]
fn d33_who_is_not_let_in_is_told_why() {
    use auth::Refused as R;
    let told = [R::LockedOut(1001), R::HeldTooLong, R::Unreadable].map(|refused| row(shape(refused)));
    let expected = [
        "INVALID_REQUEST AUTH_RATE_LIMITED after 1001: unauthorized: too many failed attempts (try again in 2 s)",
        "INVALID_REQUEST AUTH_RATE_LIMITED after 1000: unauthorized: too many wrong credentials on this machine (try again in 1 s)",
        "UNAVAILABLE CREDENTIAL_FILE after 5000: the gateway cannot read the file of its shared secret now; its log says why",
    ];
    assert_eq!(told, expected);
    let (token, password) = (AuthMode::Token, AuthMode::Password);
    let told = [R::Missing(token), R::Mismatch(token), R::Missing(password), R::Mismatch(password)];
    let expected = [
        "INVALID_REQUEST AUTH_TOKEN_MISSING: unauthorized: gateway token missing (send connect.params.auth.token)",
        "INVALID_REQUEST AUTH_TOKEN_MISMATCH: unauthorized: gateway token mismatch (use the gateway.auth.token of the gateway that you connect to)",
        "INVALID_REQUEST AUTH_PASSWORD_MISSING: unauthorized: gateway password missing (send connect.params.auth.password)",
        "INVALID_REQUEST AUTH_PASSWORD_MISMATCH: unauthorized: gateway password mismatch (use the gateway.auth.password of the gateway that you connect to)",
    ];
    assert_eq!(told.map(|refused| row(shape(refused))), expected);
}

#[test]
fn d33_rights_and_questions() {
    let told = rows([rights::Refused::Scope(Scope::Write), rights::Refused::NotYours]);
    let expected = [
        "INVALID_REQUEST MISSING_SCOPE scope=\"operator.write\": missing scope: operator.write",
        "INVALID_REQUEST FORBIDDEN: that session or chat is not yours: nothing was done",
    ];
    assert_eq!(told, expected);
    use approvals::Refused as R;
    let expected = [
        "INVALID_REQUEST APPROVAL_PENDING: approval id already pending",
        "UNAVAILABLE BUSY after 5000: too many approvals wait for a decision",
        "INVALID_REQUEST UNKNOWN_APPROVAL: unknown approval id",
        "INVALID_REQUEST OWN_APPROVAL: who asked for an approval may deny it and not give it: let another device decide",
    ];
    assert_eq!(rows([R::Pending, R::Full, R::Unknown, R::Own]), expected);
    let expected = [
        "INVALID_REQUEST UNKNOWN_APPROVAL: unknown, used or expired approval",
        "INVALID_REQUEST APPROVAL_MISMATCH: the approval was given for another command, directory, environment, session, agent or node",
    ];
    assert_eq!(rows([Unusable::Unknown, Unusable::Mismatch].map(Unsound::from)), expected);
}

#[test]
fn d33_messages_on_their_way_out() {
    let over = |reason| Undelivered { id: "7".into(), reason, why: "w".into() };
    let reasons = [
        (None, "UNAVAILABLE DELIVERY_UNKNOWN deliveryId=\"7\": w"),
        (Some(Reason::Refused), "UNAVAILABLE DELIVERY_REFUSED deliveryId=\"7\": w"),
        (Some(Reason::GaveUp), "UNAVAILABLE DELIVERY_FAILED deliveryId=\"7\" again: w"),
        (Some(Reason::Expired), "UNAVAILABLE DELIVERY_EXPIRED deliveryId=\"7\": w"),
        (Some(Reason::NotLinked), "NOT_LINKED NOT_LINKED deliveryId=\"7\": w"),
        (Some(Reason::NoAccount), "INVALID_REQUEST UNSUPPORTED_CHANNEL deliveryId=\"7\": w"),
        (Some(Reason::NoMedia), "UNAVAILABLE MEDIA_FILE deliveryId=\"7\": w"),
        (Some(Reason::Dropped), "UNAVAILABLE DELIVERY_DROPPED deliveryId=\"7\": w"),
    ];
    for (reason, expected) in reasons {
        assert_eq!(row(shape(Failed::from(over(reason)))), expected);
    }
    let told = rows([
        NotSent::NoAccount("x".into()),
        NotSent::NoChannel("x".into()),
        NotSent::Empty,
        Unreachable::BadTarget("no chat".into()).into(),
        NoPlace::from(Unreachable::NoAccount("x".into())).into(),
        NoPlace::from(Unreachable::NotLinked("X".into())).into(),
        NoPlace::from(rights::Refused::NotYours).into(),
        NoRoom::Chat(100).into(),
        NoRoom::Account(200).into(),
        idempotency::Refused::Unfinished.into(),
        StillPending.into(),
        Broken.into(),
    ]);
    let expected = [
        "INVALID_REQUEST UNSUPPORTED_CHANNEL: unknown account of channel x",
        "INVALID_REQUEST UNSUPPORTED_CHANNEL: unsupported channel: x",
        "INVALID_REQUEST EMPTY_MESSAGE: message or media required",
        "INVALID_REQUEST BAD_TARGET: no chat",
        "INVALID_REQUEST UNSUPPORTED_CHANNEL: unsupported channel: x",
        "NOT_LINKED NOT_LINKED: X is not linked on this gateway",
        "INVALID_REQUEST FORBIDDEN: that session or chat is not yours: nothing was done",
        "UNAVAILABLE OUTBOX_FULL after 5000: 100 messages wait to be delivered to this chat: see openclaw delivery list",
        "UNAVAILABLE OUTBOX_FULL after 5000: 200 messages of this account wait to be delivered: see openclaw delivery list",
        "UNAVAILABLE INTERRUPTED again: the first request with this key was not finished",
        "UNAVAILABLE DELIVERY_PENDING after 10000: the message waits to be delivered and goes out as soon as it can; ask again with the same idempotencyKey, or see openclaw delivery list",
        "UNAVAILABLE STORAGE after 1000: the state database cannot be used now",
    ];
    assert_eq!(told, expected);
    let told = rows(
        [
            NotEnclosed::TooMany(99),
            NotEnclosed::File { path: "/x".into(), why: "no".into() },
            NotEnclosed::Secret,
            FetchError::Address.into(),
            NotKept.into(),
            Stopping.into(),
        ]
        .map(NotSent::from),
    );
    assert!(
        told[0].starts_with("INVALID_REQUEST TOO_MANY_MEDIA: at most ") && told[0].ends_with(" media files, found 99")
    );
    let expected = [
        "INVALID_REQUEST MEDIA_FILE: media /x: no",
        "INVALID_REQUEST MEDIA_FILE: media: the file holds a secret of this gateway (a token, a key or a password), it is not sent",
        "INVALID_REQUEST MEDIA_URL: media: media must be a file on the gateway's machine or an https address on port 443 without a user name",
        "UNAVAILABLE STORAGE after 1000: the media file cannot be kept in the state directory now",
        "UNAVAILABLE SHUTTING_DOWN: gateway is shutting down",
    ];
    assert_eq!(told[1..], expected);
    let told = rows([delivery::Refused::NoSuch("7".into()), delivery::Refused::Busy("7".into())]);
    let expected = [
        "INVALID_REQUEST NO_SUCH_DELIVERY: no undelivered message has the id 7",
        "UNAVAILABLE DELIVERY_BUSY after 1000: message 7 is on its way",
    ];
    assert_eq!(told, expected);
}

#[test]
fn d33_keys_and_what_is_said_with_them() {
    use idempotency::Refused as R;
    let told = rows([R::OtherParameters, R::Busy, R::NotKept, R::FirstWasRefused, Broken.into()].map(NotSaid::from));
    let expected = [
        "INVALID_REQUEST IDEMPOTENCY_MISMATCH: idempotencyKey was used with other parameters",
        "UNAVAILABLE BUSY after 1000: too many requests under way",
        "UNAVAILABLE STORAGE after 1000: the answer to this idempotencyKey is not kept any more",
        "UNAVAILABLE FIRST_WAS_REFUSED after 1000: the first request with this idempotencyKey was refused and had no effect: send it again",
        "UNAVAILABLE STORAGE after 1000: the state database cannot be used now",
    ];
    assert_eq!(told, expected);
    let told = rows([
        idempotency::EarlierFailure::Unreadable.into(),
        Closed.into(),
        BadImages::NoBase64(1).into(),
        NotSaid::Empty,
        NotAccepted::from(NotQueued::IdInUse).into(),
        NotAccepted::from(NotQueued::SessionFull(3)).into(),
    ]);
    let expected = [
        "UNAVAILABLE STORAGE: the stored answer cannot be read",
        "INVALID_REQUEST SEND_POLICY: send blocked by session policy",
        "INVALID_REQUEST BAD_ATTACHMENT: attachment 1: invalid base64 content",
        "INVALID_REQUEST EMPTY_MESSAGE: message or attachment required",
        "INVALID_REQUEST RUN_ID_IN_USE: this idempotencyKey names a run that is under way",
        "UNAVAILABLE SESSION_QUEUE_FULL after 5000: the session has 3 runs waiting",
    ];
    assert_eq!(told, expected);
    assert_eq!(row(NotInjected::NoSession), "INVALID_REQUEST NO_SESSION: session not found");
    assert!(row(shape(BadImages::TooMany(99))).starts_with("INVALID_REQUEST TOO_MANY_ATTACHMENTS: at most "));
}

#[test]
fn d33_how_runs_fail() {
    let model = |is_passing| Failed::Model { why: "no".into(), is_passing };
    let runs = [
        (Failed::Stopped, "UNAVAILABLE SHUTTING_DOWN again: the gateway stopped before the run ended"),
        (
            Failed::TooManySessions,
            "UNAVAILABLE TOO_MANY_SESSIONS: this gateway keeps at most 100000 sessions: delete some first",
        ),
        (Failed::NoModelUsable(vec!["a".into(), "b".into()]), "UNAVAILABLE NO_MODEL: a; b"),
        (Failed::TimedOut, "AGENT_TIMEOUT AGENT_TIMEOUT again: the agent did not answer within its deadline"),
        (model(true), "UNAVAILABLE MODEL_FAILED again: no"),
        (model(false), "UNAVAILABLE MODEL_FAILED: no"),
        (
            Failed::NoModel,
            "UNAVAILABLE NO_MODEL: no model credentials: set agents.defaults.model and models.providers in the configuration (or agents.defaults.model to \"builtin/echo\" to try without one)",
        ),
        (
            Failed::Interrupted,
            "UNAVAILABLE RUN_INTERRUPTED: the gateway ended before this run did; what it had said is in the transcript: send the message again with a new idempotencyKey if it is still wanted",
        ),
        (
            Failed::NoSession,
            "UNAVAILABLE NO_SESSION_SELECTOR: name a session: pass sessionKey, sessionId, agentId or to (openclaw agent: --to, --session-id, --agent)",
        ),
    ];
    for (failed, expected) in runs {
        assert_eq!(row(shape(failed)), expected);
    }
}

#[test]
fn d33_nodes() {
    let node = NodeError { code: Some("X".into()), message: Some("m".into()) };
    let told = rows([
        InvokeError::NotConnected,
        InvokeError::Busy,
        InvokeError::Failed(Some(node)),
        InvokeError::Failed(None),
        InvokeError::NoTime,
        InvokeError::TimedOut,
        InvokeError::Left("n".into()),
        InvokeError::Cancelled,
    ]);
    let expected = [
        r#"UNAVAILABLE NOT_CONNECTED nodeError={"code":"NOT_CONNECTED","message":"node not connected"}: node not connected"#,
        r#"UNAVAILABLE BUSY nodeError={"code":"BUSY","message":"too many invokes under way"} after 1000: too many invokes under way"#,
        r#"UNAVAILABLE NODE_ERROR nodeError={"code":"X","message":"m"}: m"#,
        "UNAVAILABLE NODE_ERROR nodeError=null: node invoke failed",
        r#"UNAVAILABLE TIMEOUT nodeError={"code":"TIMEOUT","message":"node invoke timed out"}: node invoke timed out"#,
        r#"UNAVAILABLE TIMEOUT nodeError={"code":"TIMEOUT","message":"node invoke timed out"}: node invoke timed out"#,
        r#"UNAVAILABLE NODE_DISCONNECTED nodeError={"code":"NOT_CONNECTED","message":"node disconnected (n)"}: node disconnected (n)"#,
        r#"UNAVAILABLE CANCELLED nodeError={"code":"CANCELLED","message":"node invoke cancelled"}: node invoke cancelled"#,
    ];
    assert_eq!(told, expected);
    let told = rows([NotRun::Unnamed, NotAllowed { reason: "r", command: "c".into() }.into(), NotRun::Denied]);
    let expected = [
        "INVALID_REQUEST NODE_ID_AND_COMMAND_REQUIRED: nodeId and command required",
        "INVALID_REQUEST NODE_COMMAND_NOT_ALLOWED reason=\"r\" command=\"c\": node command not allowed",
        "INVALID_REQUEST DENIED: not allowed: a person said no",
    ];
    assert_eq!(told, expected);
    let told = row(shape(TooMuch { kind: "caps", found: 7 }));
    assert!(told.starts_with("INVALID_REQUEST INVALID_PARAMS: invalid connect params: at /caps: expected at most "));
    assert!(told.ends_with(" characters, found 7 or a longer one"), "{told}");
    let kept = idempotency::Told::from(&AnswerNotKept);
    assert_eq!((kept.reason(), kept.retryable), (Some("ANSWER_NOT_KEPT"), None));
    assert_eq!(serde_json::to_value(&kept).unwrap()["code"], json!("UNAVAILABLE"));
}

#[test]
fn d33_sessions_that_stay() {
    let told = rows([
        NotRemoved::Main("agent:main:main".into()),
        NotRemoved::Busy,
        NotArchived.into(),
        NotRead::from(Stopping).into(),
        NotRead::from(Broken).into(),
        Broken.into(),
    ]);
    let expected = [
        "INVALID_REQUEST MAIN_SESSION: the main session cannot be deleted (agent:main:main); sessions.reset begins it anew",
        "UNAVAILABLE SESSION_BUSY after 1000: a run of this session is still under way",
        "UNAVAILABLE STORAGE: the transcript could not be archived",
        "UNAVAILABLE SHUTTING_DOWN: gateway is shutting down",
        "UNAVAILABLE STORAGE after 1000: the state database cannot be used now",
        "UNAVAILABLE STORAGE after 1000: the state database cannot be used now",
    ];
    assert_eq!(told, expected);
}

#[test]
fn d33_the_configuration_is_not_changed() {
    use crate::configuration::edits::Error as E;
    let problem = openclaw_config::parse("{gateway:{bind:'mars'}}", &|_| None).unwrap_err();
    let told = rows([
        E::NoFile,
        E::BaseRequired,
        E::BaseOutdated,
        E::NotAnObject,
        E::Invalid(problem.clone()),
        E::FileInvalid(vec![]),
        E::Impossible("no".into()),
        E::Io("disk".into()),
    ]);
    let issues = format!(" issues=[{{\"path\":\"gateway.bind\",\"message\":{:?}}}]", problem[0].message);
    let expected = [
        "UNAVAILABLE CONFIG_FILE: this gateway has no configuration file to change".to_owned(),
        "INVALID_REQUEST BASE_HASH_REQUIRED: config base hash required; re-run config.get and retry".to_owned(),
        "INVALID_REQUEST BASE_HASH_CHANGED: config changed since last load; re-run config.get and retry".to_owned(),
        "INVALID_REQUEST INVALID_PARAMS: config.patch raw must be an object".to_owned(),
        format!("INVALID_REQUEST CONFIG_INVALID{issues}: invalid config"),
        "INVALID_REQUEST CONFIG_INVALID issues=[]: invalid config; fix before patching".to_owned(),
        "INVALID_REQUEST CONFIG_EDIT: no".to_owned(),
        "UNAVAILABLE CONFIG_FILE after 1000: disk".to_owned(),
    ];
    assert_eq!(told, expected);
}
