use std::{collections::BTreeMap, time::Duration};

use openclaw_channels::{AccountStatus, Fault, OpenTo};
use openclaw_config::Tls;

use super::*;
use crate::{
    delivery::Counts,
    limits::{DISK_LOW, WAITING_LONG, WAITING_MANY},
};

/// A gateway without a fault; each test puts one in.
struct World {
    config: Config,
    not_in_force: Option<&'static str>,
    accounts: Vec<AccountFacts>,
    receives: bool,
    piles: BTreeMap<(String, String), Pile>,
    refuses: Option<&'static str>,
    free: Option<u64>,
    listen: Vec<SocketAddr>,
    failing: BTreeMap<Way, String>,
}

impl World {
    fn well() -> Self {
        let status = AccountStatus { configured: true, enabled: true, running: true, connected: true, ..none() };
        let account = AccountFacts {
            channel: "chat".into(),
            label: "Chat".into(),
            account: "a".into(),
            status: Ok(status),
            linked: None,
            open_to: vec![],
        };
        Self {
            config: Config::default(),
            not_in_force: None,
            accounts: vec![account],
            receives: true,
            piles: BTreeMap::new(),
            refuses: None,
            free: Some(DISK_LOW),
            listen: vec!["127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap()],
            failing: BTreeMap::new(),
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Vec<Problem> {
        let mut world = Self::well();
        change(&mut world);
        find(&Facts {
            config: &world.config,
            not_in_force: world.not_in_force,
            config_path: "/openclaw.json",
            accounts: &world.accounts,
            receives: world.receives,
            piles: &world.piles,
            refuses: world.refuses,
            free: world.free,
            state_dir: "/state",
            listen: &world.listen,
            failing: &world.failing,
        })
    }

    fn status(&mut self) -> &mut AccountStatus {
        self.accounts[0].status.as_mut().unwrap()
    }

    fn pile(&mut self, counts: Counts, oldest: Duration) {
        self.piles.insert(("chat".into(), "a".into()), Pile { counts, oldest });
    }
}

fn none() -> AccountStatus {
    AccountStatus::default()
}

/// The one problem that there is: code, severity, subject.
fn only(problems: &[Problem]) -> (&str, Severity, &str) {
    let [one] = problems else { panic!("{problems:#?}") };
    assert!(!one.message.is_empty() && !one.fix.is_empty(), "{one:?}");
    (&one.code, one.severity, &one.subject)
}

#[test]
fn f31_a_gateway_without_a_fault_has_no_problem() {
    assert_eq!(World::with(|_| {}), []);
}

#[test]
fn f12_f31_a_channel_that_does_not_receive_is_named_with_its_reason() {
    for (fault, code) in [
        (Fault::Credentials, "channel.stopped"),
        (Fault::Conflict, "channel.conflict"),
        (Fault::Disturbed, "channel.disturbed"),
        (Fault::Silent, "channel.silent"),
    ] {
        let found = World::with(|w| {
            w.status().fault = Some(fault);
            w.status().last_error = (fault != Fault::Silent).then(|| "because".to_owned());
        });
        assert_eq!(only(&found), (code, Severity::Problem, "chat/a"));
        assert!(found[0].message.starts_with("Chat a receives nothing"), "{found:?}");
        assert_eq!(found[0].message.contains("because"), fault != Fault::Silent, "{found:?}");
    }
    let found = World::with(|w| w.accounts[0].status = Err("no credential".into()));
    assert_eq!(only(&found), ("channel.unusable", Severity::Problem, "chat/a"));
    let found = World::with(|w| w.accounts[0].linked = Some(false));
    assert_eq!(only(&found), ("channel.notLinked", Severity::Problem, "chat/a"));
}

#[test]
fn f31_a_channel_that_was_switched_off_is_no_problem_and_one_that_was_left_out_is_a_note() {
    let off = |w: &mut World| {
        w.status().enabled = false;
        w.status().fault = Some(Fault::Credentials);
        w.accounts[0].open_to = vec![OpenTo::Everybody];
    };
    assert_eq!(World::with(off), []);
    let found = World::with(|w| w.receives = false);
    assert_eq!(only(&found), ("channel.skipped", Severity::Note, "chat/a"));
}

#[test]
fn f31_a_model_without_a_credential_is_named_with_what_to_set() {
    let found = World::with(|w| {
        let text = "{agents: {defaults: {model: 'anthropic/x'}}}";
        w.config = openclaw_config::parse(text, &|_| None).unwrap().config;
    });
    assert_eq!(only(&found), ("model.unusable", Severity::Problem, "anthropic/x"));
    assert!(found[0].fix.contains("ANTHROPIC_API_KEY"), "{found:?}");
}

#[test]
fn f31_what_does_not_go_out_is_told_by_kind() {
    let counts = |queued, dead, unknown| Counts { queued, dead, unknown };
    let of = |counts, oldest| World::with(|w| w.pile(counts, oldest));
    let short = WAITING_LONG.saturating_sub(Duration::from_secs(1));
    assert_eq!(of(counts(WAITING_MANY - 1, 0, 0), short), []);
    assert_eq!(only(&of(counts(WAITING_MANY, 0, 0), short)), ("delivery.waiting", Severity::Problem, "chat/a"));
    assert_eq!(only(&of(counts(1, 0, 0), WAITING_LONG)).0, "delivery.waiting");
    assert_eq!(of(counts(0, 0, 0), WAITING_LONG), []);
    let both = of(counts(0, 2, 1), Duration::ZERO);
    assert_eq!(both.iter().map(|p| p.code.as_str()).collect::<Vec<_>>(), ["delivery.dead", "delivery.unknown"]);
    assert!(both[0].message.contains("2 messages to") && both[1].message.contains("1 message to"), "{both:?}");
}

#[test]
fn f31_a_disk_without_room_and_a_database_that_refuses_are_told() {
    assert_eq!(only(&World::with(|w| w.free = Some(DISK_LOW - 1))), ("disk.low", Severity::Problem, "/state"));
    assert_eq!(World::with(|w| w.free = None), []);
    let found = World::with(|w| w.refuses = Some("no space left"));
    assert_eq!(only(&found), ("storage.refuses", Severity::Problem, "/state"));
    let found = World::with(|w| w.not_in_force = Some("line 2"));
    assert_eq!(only(&found), ("config.notInForce", Severity::Problem, "/openclaw.json"));
}

#[test]
fn f31_an_open_policy_that_the_file_states_is_a_note_and_the_clear_network_a_problem() {
    let found = World::with(|w| w.accounts[0].open_to = vec![OpenTo::Everybody, OpenTo::Groups]);
    assert!(found.len() == 2 && found.iter().all(|p| p.severity == Severity::Note), "{found:?}");
    let on = |address: &str| {
        let address: SocketAddr = address.parse().unwrap();
        World::with(|w| w.listen.push(address))
    };
    assert_eq!(only(&on("0.0.0.0:1")), ("exposure.network", Severity::Problem, "0.0.0.0:1"));
    assert_eq!(only(&on("[2001:db8::1]:1")).0, "exposure.network");
    for tailnet in ["100.64.0.1:1", "100.127.255.1:1", "[fd7a:115c:a1e0::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(on(tailnet), [], "{tailnet}");
    }
    assert_eq!(only(&on("100.128.0.1:1")).0, "exposure.network");
    let behind = World::with(|w| {
        w.listen.push("0.0.0.0:1".parse().unwrap());
        w.config.gateway.trusted_proxies = vec!["10.0.0.1".into()];
    });
    assert_eq!(only(&behind), ("exposure.network", Severity::Note, "0.0.0.0:1"));
    let with_tls = |enabled| {
        World::with(|w| {
            w.listen.push("0.0.0.0:1".parse().unwrap());
            w.config.gateway.tls = Some(Tls { enabled, ..Tls::default() });
        })
    };
    assert_eq!(with_tls(true), []);
    assert_eq!(only(&with_tls(false)).0, "exposure.network");
}

#[test]
fn a_way_that_is_not_as_asked_for_is_named() {
    for (way, code) in [(Way::Tls, "tls.notTakenOver"), (Way::Tailscale, "tailscale.notPublished")] {
        let found = World::with(|w| drop(w.failing.insert(way, "why".into())));
        assert_eq!((only(&found).0, found[0].message.as_str()), (code, "why"));
    }
}

#[test]
fn d12_only_what_there_is_tells_one_list_from_another_and_the_worst_comes_first() {
    let of = |dead| {
        World::with(|w| {
            w.accounts[0].open_to = vec![OpenTo::Groups];
            w.pile(Counts { queued: 0, dead, unknown: 0 }, Duration::ZERO);
        })
    };
    let (one, two) = (of(1), of(2));
    assert!(one != two && core(&one) == core(&two), "{one:?} {two:?}");
    assert_eq!(one.iter().map(|p| p.severity).collect::<Vec<_>>(), [Severity::Problem, Severity::Note]);
}
