#![allow(clippy::disallowed_methods)] // how long something took is what is tested

use std::time::Duration;

use openclaw_platform::os::OsClock;
use proptest::prelude::*;
use tokio::{task::JoinSet, time::Instant};

use super::*;

fn turns() -> Arc<Turns> {
    Arc::new(Turns::new(Arc::new(OsClock)))
}

/// A wrong try of `who`: when it was answered, and whether it was judged.
async fn wrong(turns: Arc<Turns>, who: &'static str) -> (Mono, bool) {
    let judged = match turns.turn(who).await {
        Ok(turn) => {
            turn.wrong();
            true
        }
        Err(error) => {
            assert_eq!(error, Refused::HeldTooLong);
            false
        }
    };
    (turns.clock.mono(), judged)
}

async fn use_up(turns: &Arc<Turns>) {
    let start = Instant::now();
    for _ in 0..AUTH_FAILURES {
        assert!(wrong(turns.clone(), "stale").await.1);
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "the first ten are answered at once");
}

#[tokio::test(start_paused = true)]
async fn f56_ten_at_once_then_one_a_second_until_ten_quiet_minutes() {
    let turns = turns();
    use_up(&turns).await;
    for _ in 0..5 {
        let start = Instant::now();
        assert!(wrong(turns.clone(), "stale").await.1);
        assert_eq!(start.elapsed(), AUTH_PACE);
    }
    tokio::time::advance(AUTH_FORGET.saturating_sub(Duration::from_secs(1))).await;
    assert!(wrong(turns.clone(), "stale").await.1);
    let start = Instant::now();
    assert!(wrong(turns.clone(), "stale").await.1);
    assert_eq!(start.elapsed(), AUTH_PACE, "nine minutes are not enough");
    tokio::time::advance(AUTH_FORGET).await;
    use_up(&turns).await;
}

/// Nine in a minute, again and again, are not ten within a minute.
#[tokio::test(start_paused = true)]
async fn f56_what_is_older_than_a_minute_does_not_add_up() {
    let turns = turns();
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 1..AUTH_FAILURES {
            assert!(wrong(turns.clone(), "stale").await.1);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        tokio::time::advance(AUTH_WINDOW).await;
    }
}

#[tokio::test(start_paused = true)]
async fn f56_a_try_is_held_for_three_seconds_at_most() {
    let turns = turns();
    use_up(&turns).await;
    let start = turns.clock.mono();
    let mut crowd = JoinSet::new();
    for _ in 0..40 {
        crowd.spawn(wrong(turns.clone(), "stale"));
    }
    let answers = crowd.join_all().await;
    assert!(answers.iter().all(|(at, _)| *at - start <= AUTH_HOLD));
    assert_eq!(answers.iter().filter(|(_, judged)| *judged).count(), 3, "one a second");
    assert_eq!(turns.lock().waiting, 0);
    assert!(turns.lock().queues.is_empty() && turns.lock().order.is_empty());
}

/// What is right frees the turn for the next one at once.
#[tokio::test(start_paused = true)]
async fn f56_right_ones_take_no_second() {
    let turns = turns();
    use_up(&turns).await;
    tokio::time::advance(AUTH_PACE).await;
    let start = Instant::now();
    for _ in 0..20 {
        drop(turns.turn("cli").await.unwrap());
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn f56_a_connection_that_is_gone_gives_up_its_turn() {
    let turns = turns();
    use_up(&turns).await;
    let mut gone = JoinSet::new();
    for _ in 0..50 {
        gone.spawn(wrong(turns.clone(), "stale"));
    }
    tokio::task::yield_now().await;
    assert_eq!(turns.lock().waiting, 50);
    gone.shutdown().await;
    assert_eq!(turns.lock().waiting, 0);
    let start = Instant::now();
    assert!(wrong(turns.clone(), "stale").await.1);
    assert_eq!(start.elapsed(), AUTH_PACE, "nobody stands before it");
    // One that goes while it is judged does not keep the others waiting.
    tokio::time::advance(AUTH_PACE).await;
    drop(turns.turn("stale").await.unwrap());
    assert_eq!(turns.lock().judging, 0);
}

/// However many new names a program invents, it gets every other turn beside one instance that signed in before.
#[tokio::test(start_paused = true)]
async fn f56_turns_go_round_between_instances_that_signed_in_before() {
    let turns = turns();
    turns.signed_in("owner");
    turns.signed_in("phone");
    use_up(&turns).await;
    let start = turns.clock.mono();
    let mut crowd = JoinSet::new();
    for n in 0..200 {
        let turns = turns.clone();
        crowd.spawn(async move {
            if let Ok(turn) = turns.turn(&format!("new {n}")).await {
                turn.wrong();
            }
        });
    }
    tokio::task::yield_now().await;
    for name in ["owner", "phone"] {
        drop(turns.turn(name).await.unwrap_or_else(|_| panic!("{name} has a turn")));
    }
    assert!(turns.clock.mono() - start <= AUTH_HOLD);
    crowd.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn f56_what_is_remembered_is_bounded() {
    let turns = turns();
    for n in 0..2 * AUTH_INSTANCES {
        turns.signed_in(&format!("instance {n}"));
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    turns.signed_in(&"x".repeat(AUTH_INSTANCE_TEXT + 1));
    let known = turns.lock().known.clone();
    assert_eq!(known.len(), AUTH_INSTANCES);
    assert!(known.contains_key(&format!("instance {}", 2 * AUTH_INSTANCES - 1)));
    use_up(&turns).await;
    let mut crowd = JoinSet::new();
    for _ in 0..2 * AUTH_WAITING {
        crowd.spawn(wrong(turns.clone(), "stale"));
    }
    tokio::task::yield_now().await;
    assert!(turns.lock().waiting <= AUTH_WAITING);
    crowd.shutdown().await;
}

/// What a program does: how long after the one before, under which name, with what, and how soon it hangs up.
#[derive(Debug, Clone)]
struct Try {
    after_ms: u64,
    who: usize,
    is_right: bool,
    judging_ms: u64,
    gone_after_ms: Option<u64>,
}

fn a_try() -> impl Strategy<Value = Try> {
    let after = prop_oneof![6 => 0..50u64, 3 => 50..3_000u64, 1 => 3_000..700_000u64];
    let judging = prop_oneof![4 => Just(0u64), 1 => 0..400u64];
    (after, 0..4usize, prop::bool::weighted(0.1), judging, prop::option::weighted(0.2, 0..4_000u64)).prop_map(
        |(after_ms, who, is_right, judging_ms, gone_after_ms)| Try {
            after_ms,
            who,
            is_right,
            judging_ms,
            gone_after_ms,
        },
    )
}

const NAMES: [&str; 4] = ["owner", "phone", "stale", "guesser"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever comes: in any span of time no more wrong ones are judged than ten and one for each second of it, nobody is
    /// held for longer than three seconds, and nothing is left behind.
    #[test]
    fn f56_guesses_keep_the_pace(tries in prop::collection::vec(a_try(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let turns = turns();
            NAMES[..2].iter().for_each(|name| turns.signed_in(name));
            let judged = Arc::new(Mutex::new(Vec::new()));
            let mut all = JoinSet::new();
            for t in tries {
                tokio::time::sleep(Duration::from_millis(t.after_ms)).await;
                let (turns, judged) = (turns.clone(), judged.clone());
                all.spawn(async move {
                    let start = turns.clock.mono();
                    let work = async {
                        let turn = turns.turn(NAMES[t.who]).await;
                        assert!(turns.clock.mono() - start <= AUTH_HOLD, "held for too long");
                        let Ok(turn) = turn else { return };
                        tokio::time::sleep(Duration::from_millis(t.judging_ms)).await;
                        if !t.is_right {
                            judged.lock().unwrap().push(turns.clock.mono());
                            turn.wrong();
                        }
                    };
                    match t.gone_after_ms {
                        Some(ms) => drop(tokio::time::timeout(Duration::from_millis(ms), work).await),
                        None => work.await,
                    }
                });
            }
            all.join_all().await;
            let mut judged = judged.lock().unwrap().clone();
            judged.sort();
            for (i, first) in judged.iter().enumerate() {
                for (j, last) in judged.iter().enumerate().skip(i) {
                    let span = *last - *first;
                    let allowed = u64::from(AUTH_FAILURES) + span.as_secs();
                    assert!((j - i + 1) as u64 <= allowed, "{} wrong ones in {span:?}", j - i + 1);
                }
            }
            let state = turns.lock();
            assert_eq!((state.waiting, state.judging, state.order.len(), state.queues.len()), (0, 0, 0, 0));
        });
    }
}
