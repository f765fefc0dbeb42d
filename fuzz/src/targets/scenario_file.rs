//! The simulator's scenario files: any text is refused with a place, or gives a plan of bounded size, the same for the
//! same seed, which is itself a scenario that gives the same plan.

use sim::{plan::Plan, scenario::Scenario};

/// One input.
pub fn run(input: &[u8]) {
    let Some((seed, rest)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let scenario = match Scenario::parse("s.toml", text) {
        Ok(scenario) => scenario,
        Err(error) => {
            let error = error.to_string();
            let place =
                error.strip_prefix("s.toml:").and_then(|e| e.split_once(':')).map(|(line, _)| line.parse::<usize>());
            assert!(matches!(place, Some(Ok(1..))), "{error}");
            return;
        }
    };
    let seed = u64::from(*seed);
    let plan = Plan::draw(&scenario, "s", seed).expect("what was read can be drawn");
    assert_eq!(Plan::draw(&scenario, "s", seed).expect("as before"), plan);
    // TOML has no null, which parameters may have.
    let Ok(written) = plan.to_scenario().to_toml() else { return };
    let again = Scenario::parse("again.toml", &written).unwrap_or_else(|e| panic!("{e}\n{written}"));
    let again = Plan::draw(&again, "s", seed).expect("as before");
    assert_eq!((again.clients.len(), again.faults), (plan.clients.len(), plan.faults));
}
