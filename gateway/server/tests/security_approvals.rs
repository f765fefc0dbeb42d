//! Questions to a person, against the clock and against those who go away (S19).

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use openclaw_agent::exec::ExecRequest;
use openclaw_protocol::approvals::Decision;
use openclaw_server::approvals::{Binding, Decider, Question, Refused};
use support::gateway;

const PERSON: Decider<'_> = Decider { name: "p", identity: "device:p" };

fn request() -> ExecRequest {
    ExecRequest {
        argv: vec!["ls".into()],
        cwd: None,
        env: [].into(),
        env_left_out: vec![],
        session_key: None,
        agent_id: "main".into(),
    }
}

fn ask() -> Question {
    Question::of(&request(), None, None, None)
}

/// Who asked may say no and never yes; a run is nobody, and anybody with the right may decide (S25).
#[tokio::test(start_paused = true)]
async fn s25_who_asked_may_deny_and_not_allow() {
    let gateway = gateway();
    let mine = || Question { asked_by: Some("device:p".into()), ..ask() };
    let other = Decider { name: "p", identity: "device:q" };
    let minute = Duration::from_mins(1);
    for decision in [Decision::AllowOnce, Decision::AllowAlways] {
        let mut question = Box::pin(gateway.approvals.ask(Some("q".into()), mine(), minute));
        assert!(futures_util::poll!(&mut question).is_pending());
        let refused = gateway.approvals.resolve("q", decision, PERSON).unwrap_err();
        assert_eq!(refused, Refused::Own);
        assert!(futures_util::poll!(&mut question).is_pending(), "it goes on waiting");
        gateway.approvals.resolve("q", decision, other).unwrap();
        assert_eq!(question.await.unwrap().decision, Some(decision));
    }
    let mut question = Box::pin(gateway.approvals.ask(Some("q".into()), mine(), minute));
    assert!(futures_util::poll!(&mut question).is_pending());
    gateway.approvals.resolve("q", Decision::Deny, PERSON).unwrap();
    assert_eq!(question.await.unwrap().decision, Some(Decision::Deny));
    let mut question = Box::pin(gateway.approvals.ask(Some("q".into()), ask(), minute));
    assert!(futures_util::poll!(&mut question).is_pending());
    gateway.approvals.resolve("q", Decision::AllowOnce, PERSON).unwrap();
    assert_eq!(question.await.unwrap().decision, Some(Decision::AllowOnce));
}

/// An answer to words is good for nothing, whatever the words say (S25).
#[tokio::test(start_paused = true)]
async fn s25_a_question_without_arguments_opens_nothing() {
    let gateway = gateway();
    let binding = Binding::of(&request(), None);
    for (question, opens) in [(Question::words(ask().shown), false), (ask(), true)] {
        let mut waiting = Box::pin(gateway.approvals.ask(Some("q".into()), question, Duration::from_mins(1)));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        gateway.approvals.resolve("q", Decision::AllowOnce, PERSON).unwrap();
        assert_eq!(waiting.await.unwrap().decision, Some(Decision::AllowOnce));
        assert_eq!(gateway.approvals.redeem("q", &binding).is_ok(), opens);
    }
}

/// A decision that comes just before, at, or just after the deadline: either it counts for both sides, or for neither.
#[tokio::test(start_paused = true)]
async fn s19_a_decision_and_the_deadline_have_one_winner() {
    let gateway = gateway();
    let (mut decided, mut late) = (0, 0);
    for (n, at) in [900u64, 998, 999, 1000, 1001, 1002, 1100].into_iter().enumerate() {
        let id = format!("q{n}");
        let question = gateway.approvals.ask(Some(id.clone()), ask(), Duration::from_secs(1));
        let person = async {
            tokio::time::sleep(Duration::from_millis(at)).await;
            gateway.approvals.resolve(&id, Decision::AllowOnce, PERSON)
        };
        let (outcome, resolved) = tokio::join!(question, person);
        let told = outcome.unwrap().decision.is_some();
        assert_eq!(told, resolved.is_ok(), "at {at} ms");
        if told { decided += 1 } else { late += 1 }
    }
    assert!(decided >= 3 && late >= 2, "{decided} decided, {late} late");
}

/// Who asked and went away leaves no question behind, and a question is no answer for the next one of its name.
#[tokio::test(start_paused = true)]
async fn s19_a_question_ends_with_who_asked() {
    let gateway = gateway();
    let minute = Duration::from_mins(1);
    let question = gateway.approvals.ask(Some("q".into()), ask(), minute);
    assert!(tokio::time::timeout(Duration::from_millis(10), question).await.is_err());
    assert!(gateway.approvals.list().is_empty());
    assert!(gateway.approvals.resolve("q", Decision::AllowOnce, PERSON).is_err());
    let two = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let again = gateway.approvals.ask(Some("q".into()), ask(), minute).await;
        assert_eq!(again.unwrap_err(), Refused::Pending);
        gateway.approvals.resolve("q", Decision::Deny, PERSON).unwrap();
    };
    let (outcome, ()) = tokio::join!(gateway.approvals.ask(Some("q".into()), ask(), minute), two);
    assert_eq!(outcome.unwrap().decision, Some(Decision::Deny));
}

/// However many ask, the list has a bound (F04).
#[tokio::test(start_paused = true)]
async fn f04_questions_are_bounded() {
    let gateway = gateway();
    let all = (0..300).map(|_| gateway.approvals.ask(None, ask(), Duration::from_secs(1)));
    let outcomes = futures_util::future::join_all(all).await;
    let refused = outcomes.iter().filter(|o| o.is_err()).count();
    assert_eq!(refused, 300 - openclaw_server::limits::APPROVALS);
    assert!(gateway.approvals.list().is_empty());
}

/// The id of a question that was decided can be used for the next one before its asker has heard of it: that one waits.
#[tokio::test(start_paused = true)]
async fn s19_the_end_of_a_question_does_not_withdraw_the_next_one() {
    let gateway = gateway();
    let question = || Box::pin(gateway.approvals.ask(Some("q".into()), ask(), Duration::from_secs(9)));
    let mut first = question();
    assert!(futures_util::poll!(&mut first).is_pending());
    gateway.approvals.resolve("q", Decision::AllowOnce, PERSON).unwrap();
    let mut second = question();
    assert!(futures_util::poll!(&mut second).is_pending());
    assert_eq!(first.await.unwrap().decision, Some(Decision::AllowOnce));
    gateway.approvals.resolve("q", Decision::Deny, PERSON).unwrap();
    assert_eq!(second.await.unwrap().decision, Some(Decision::Deny));
    // One that is given up is withdrawn.
    let mut third = question();
    assert!(futures_util::poll!(&mut third).is_pending());
    drop(third);
    assert!(gateway.approvals.resolve("q", Decision::Deny, PERSON).is_err());
}
