//! The scenario files and the runner: every file is valid, a plan is the whole truth about a run, and nondeterminism is
//! caught.

// outside of the gateway: tests of the simulator
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_types, clippy::disallowed_methods)]
#![allow(clippy::naive_bytecount, clippy::duration_suboptimal_units, clippy::large_stack_arrays)]

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use sim::{
    history::{Record, What},
    plan::{Plan, Strike, StrikeKind},
    runner::{Story, try_plan},
    scenario::Scenario,
};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

fn story(name: &str) -> PathBuf {
    directory().join(format!("{name}.toml"))
}

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(args).output().unwrap()
}

#[test]
fn every_scenario_draws_a_plan_that_is_a_file_and_a_scenario_again() {
    let stories = Story::all(&directory()).unwrap();
    assert!(stories.len() >= 25, "{} scenarios", stories.len());
    for Story { name, scenario, .. } in stories {
        let plan = Plan::draw(&scenario, &name, 3).unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(Plan::from_json(&text).unwrap(), plan, "{name}");
        let again =
            Scenario::parse(&name, &plan.to_scenario().to_toml().unwrap_or_else(|e| panic!("{name}: {e}"))).unwrap();
        let again = Plan::draw(&again, &name, 77).unwrap();
        assert_eq!((&again.clients, &again.faults, again.seed), (&plan.clients, &plan.faults, plan.seed), "{name}");
    }
}

#[test]
fn one_seed_is_one_history_also_from_the_plan_alone() {
    let story = Story::read(&story("short")).unwrap();
    let plan = Plan::draw(&story.scenario, &story.name, 5).unwrap();
    let (one, _) = try_plan(&plan);
    let (two, _) = try_plan(&Plan::from_json(&serde_json::to_string(&plan).unwrap()).unwrap());
    assert_eq!((&one.hash, one.records, one.draws), (&two.hash, two.records, two.draws));
    assert!(one.passed(), "{:?} {:?}", one.violations, one.broken);
    let other = try_plan(&Plan::draw(&story.scenario, &story.name, 6).unwrap()).0;
    assert_ne!(one.hash, other.hash, "the seed matters");
}

#[test]
fn the_guard_passes_what_repeats_and_catches_the_canary() {
    let file = story("short");
    let run = |more: &[&str]| {
        let args = ["run", file.to_str().unwrap(), "--seeds", "0..2", "--check-determinism"];
        sim(&[&args[..], more].concat())
    };
    let good = run(&[]);
    assert_eq!(good.status.code(), Some(0), "{}", String::from_utf8_lossy(&good.stderr));
    let caught = run(&["--canary", "chance"]);
    let said = String::from_utf8_lossy(&caught.stderr);
    assert_eq!(caught.status.code(), Some(2), "{said}");
    assert!(said.contains("two histories") && said.contains("first different record"), "{said}");
}

/// The run is the same as without the crash until the crash, which comes at the operation that was named.
#[test]
fn a_crash_at_a_storage_operation_strikes_there_and_the_run_goes_on() {
    let story = Story::read(&story("f18_any_operation")).unwrap();
    let plan = || Plan::draw(&story.scenario, &story.name, 1).unwrap();
    let (base, whole) = try_plan(&plan());
    assert!(base.passed() && base.storage_ops > 30, "{base:?}");
    let crashes = |history: &[Record]| -> Vec<u64> {
        let crash = |w: &What| matches!(w, What::Process { event } if event == "crash" || event == "power_loss");
        history.iter().filter(|r| crash(&r.what)).map(|r| r.t_us).collect()
    };
    let mut last = 0;
    for (kind, at_op) in [
        (StrikeKind::Crash, 1),
        (StrikeKind::PowerLoss, 2),
        (StrikeKind::Crash, base.storage_ops / 2),
        (StrikeKind::PowerLoss, base.storage_ops),
    ] {
        let (outcome, history) = try_plan(&plan().struck(Some(Strike { kind, at_op })));
        assert!(outcome.passed(), "{kind:?} {at_op}: {:?}", outcome.violations);
        let at = crashes(&history);
        assert!(at.len() == 1 && at[0] >= last, "{kind:?} {at_op}: {at:?} {last}");
        last = at[0];
        // A fault's step is 5 ms; before it nothing is different.
        let before = |h: &[Record]| h.iter().take_while(|r| r.t_us + 5000 < last).cloned().collect::<Vec<_>>();
        assert_eq!(before(&history), before(&whole), "{kind:?} {at_op}");
        assert!(
            history.iter().any(|r| r.t_us > last && matches!(&r.what, What::Process { event } if event == "start"))
        );
    }
    let beyond = Strike { kind: StrikeKind::Crash, at_op: base.storage_ops + 1 };
    assert_eq!(crashes(&try_plan(&plan().struck(Some(beyond))).1), [0; 0], "only in the time of faults");
}

#[test]
fn each_storage_operation_is_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    std::fs::write(&file, "about = 'x'\n[run]\nlength = '1s'\ndrain = '9s'\n").unwrap();
    let output = sim(&["run", file.to_str().unwrap(), "--seed", "3", "--each-storage-op", "--jobs", "2", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines: Vec<serde_json::Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let operations = lines[0]["storage_ops"].as_u64().unwrap();
    assert!(operations > 5, "{operations}");
    assert_eq!(lines.last().unwrap()["rows"]["x"]["seeds"], 1 + operations);
}

#[test]
fn exit_codes_tell_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let code = |args: &[&str]| sim(args).status.code();
    let path = file.to_str().unwrap();
    assert_eq!(code(&["run", path]), Some(64), "no such file");
    write("about = 'x'\nwrong = 1\n");
    let output = sim(&["run", path]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("x.toml:2:1"), "{output:?}");
    write("about = 'x'\n[run]\nlength = '1s'\ndrain = '1s'\nseeds = 1\n[expect]\nsometimes = ['closed 4711']\n");
    assert_eq!(code(&["run", path]), Some(4), "a goal that nobody reaches");
    assert_eq!(code(&["run", path, "--nonsense"]), Some(64));
    assert_eq!(code(&["schema"]), Some(0));
}

/// However a task stops the clock: the run has failed, says which task it was and with which stack, and can be replayed.
#[test]
fn a_livelock_is_a_failure_with_a_stack() {
    let file = story("short");
    for (canary, says) in [
        ("spin", &["the task \"canary\" was being polled", "stack of \"canary\"", "canary.rs"][..]),
        ("yields", &["tasks that wanted to go on: canary", "stack of \"canary\"", "canary.rs"]),
        ("deaf", &["the task \"canary\" was being polled", "there is no stack"]),
    ] {
        let args =
            ["run", file.to_str().unwrap(), "--seed", "3", "--check-determinism", "--watchdog", "2s", "--canary"];
        let output = sim(&[&args[..], &[canary]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{canary}: {said}");
        for text in ["livelock", "no virtual time passed any more after 1.0", "replay: sim replay "].iter().chain(says)
        {
            assert!(said.contains(text), "{canary}: {said}");
        }
        let kept = said.lines().find_map(|l| l.trim().strip_prefix("replay: sim replay ")).unwrap();
        let kept = std::fs::read_to_string(kept).unwrap();
        assert!(Plan::from_json(&kept).is_ok() && kept.contains("canary"), "{canary}");
    }
}
