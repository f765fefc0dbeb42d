//! The policy of what may run, and the commands that it judges (S19): a file is taken exactly when its schema takes it,
//! and a second reading of the rules gives the same verdict; a wrong base hash replaces nothing; what a person is shown
//! is what was asked about.
//!
//! The first byte says whether the rest is the file's text, or makes a file, an agent and a command.

use std::sync::{Arc, LazyLock};

use crate::{exec, generate};
use arbitrary::{Result, Unstructured};
use openclaw_agent::exec::{ApprovalsStore, ExecRequest, Policy, SetError, Verdict, matches, problems};
use openclaw_config::{ExecAsk, ExecSecurity};
use openclaw_platform::{Entropy as _, MemoryStorage, Storage as _};
use openclaw_protocol::{approvals::ExecApprovalsFile, schema, wire::Json};
use serde_json::Value;
use sim::{SimEntropy, SimSpawner};
use tokio::runtime::Runtime;

const FILE: &str = "exec-approvals.json";
const HOME: &str = "/home/u";

static SCHEMA: LazyLock<Value> = LazyLock::new(schema::of::<ExecApprovalsFile>);
thread_local!(static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
    .enable_time()
    .start_paused(true)
    .build()
    .expect("a runtime without I/O can always be had"));

/// One input.
pub fn run(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    if how % 4 == 0 {
        stored(rest);
        return;
    }
    let _ = judged(&mut Unstructured::new(rest));
}

/// The file as it lies in the state directory.
fn stored(text: &[u8]) {
    let storage = MemoryStorage::new();
    storage.write_atomic(FILE, text).expect("memory takes everything");
    let store = ApprovalsStore::new(
        Arc::new(storage.clone()),
        Arc::new(SimSpawner::default()),
        SimEntropy::new(1).fork("fuzz"),
        "/state",
    );
    let sound = serde_json::from_slice::<Json>(text)
        .is_ok_and(|Json(value)| schema::validator::<ExecApprovalsFile>().is_valid(&value));
    let before = match RUNTIME.with(|runtime| runtime.block_on(store.read())) {
        Ok(snapshot) => snapshot.expect("the file is there"),
        Err(error) => {
            assert!(!sound && !error.to_string().contains(char::is_control), "{error:?}");
            return;
        }
    };
    assert!(sound, "{} is read", text.escape_ascii());
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let kept = || storage.read(FILE).expect("the file is there");
            assert!(store.set(before.file.clone(), Some("00")).await.is_err() && kept() == text);
            let is_misspelt = problems(&before.file).iter().any(|problem| problem.is_misspelt);
            let after = match store.set(before.file.clone(), Some(&before.hash)).await {
                Err(SetError::Misspelt(..)) if is_misspelt => return,
                after => after.expect("nobody changed it"),
            };
            assert!(!is_misspelt, "a misspelt word was written (S26)");
            let read = store.read().await.expect("it was just written").expect("it was just written");
            assert_eq!((&after.hash, &after.file), (&read.hash, &read.file));
            let asked = |file| Policy::of(file, "main", (ExecSecurity::Deny, ExecAsk::OnMiss));
            assert_eq!(asked(&before.file), asked(&after.file), "writing it again changed what it says");
            assert!(store.shown(after).file.socket.expect("filled in").token.is_none());
        });
    });
}

fn judged(u: &mut Unstructured<'_>) -> Result<()> {
    let value = match u.int_in_range(0..=3)? {
        0 => generate::value(&SCHEMA, u)?,
        _ => exec::file(u)?,
    };
    let agent = *u.choose(&["main", "other", "*", "default"])?;
    let path = exec::path(u)?;
    let home = u.arbitrary::<bool>()?.then_some(HOME);
    let params = exec::params(u)?;

    let pattern = exec::pattern(u)?;
    assert_eq!(matches(&pattern, &path, home), exec::fits(&pattern, &path, home), "{pattern:?} {path:?}");

    if let Ok(file) = serde_json::from_value::<ExecApprovalsFile>(value.clone()) {
        let policy = Policy::of(&file, agent, (ExecSecurity::Deny, ExecAsk::OnMiss));
        let rules = exec::Rules::read(&value, agent);
        let listed = u.arbitrary()?;
        let verdict = policy.judge(listed);
        let expected = rules.verdict(listed);
        let same = match verdict {
            Verdict::Run => expected == exec::Expected::Run,
            Verdict::Ask => expected == exec::Expected::Ask,
            Verdict::Deny(_) => expected == exec::Expected::Deny,
        };
        assert!(same, "{verdict:?} but {expected:?} for {agent} and {path:?} by {value}");
        assert_eq!(policy.falls_back(listed), rules.falls_back(listed), "{path:?} by {value}");
        // Another opinion never allows more.
        let stricter = policy.at_most(Some(*u.choose(&SECURITIES)?), Some(*u.choose(&ASKS)?));
        let order = |v| match v {
            Verdict::Run => 0,
            Verdict::Ask => 1,
            Verdict::Deny(_) => 2,
        };
        let now = stricter.judge(listed);
        // `ask: always` asks about what `off` denies, and then a person decides.
        assert!(order(now) >= order(verdict) || now == Verdict::Ask, "{now:?} after {verdict:?} by {value}");
    }

    if let Ok(request) = ExecRequest::from_params(&params) {
        // What was left out is told to the caller and not asked for again (S25).
        let again = ExecRequest { env_left_out: Vec::new(), ..request.clone() };
        assert_eq!(ExecRequest::from_params(&request.to_params()), Ok(again), "{params}");
        let shown = request.shown();
        assert!(!shown.contains(char::is_control), "{shown:?}");
        // What is not visible is written with escapes, which not every shell reads (S25).
        if !shown.contains("$'") {
            assert_eq!(shell_words::split(&shown).ok().as_ref(), Some(&request.argv), "{shown:?}");
        }
        if request.check().is_ok() {
            for name in request.env.keys() {
                let upper = name.to_ascii_uppercase();
                let changes_code = ["PATH", "BASH_ENV", "NODE_OPTIONS", "IFS"].contains(&upper.as_str())
                    || ["LD_", "DYLD_", "GIT_"].iter().any(|prefix| upper.starts_with(prefix));
                assert!(!changes_code && !name.contains(['=', '\0']), "{name:?} may be set");
            }
        }
        let mut other = request.clone();
        other.env.insert("FUZZ_ONE_MORE".to_owned(), String::new());
        assert!(request.env.contains_key("FUZZ_ONE_MORE") || other.env_hash() != request.env_hash());
    }
    Ok(())
}

const SECURITIES: [ExecSecurity; 3] = [ExecSecurity::Deny, ExecSecurity::Allowlist, ExecSecurity::Full];
const ASKS: [ExecAsk; 3] = [ExecAsk::Off, ExecAsk::OnMiss, ExecAsk::Always];
