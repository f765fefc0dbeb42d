//! The whole way from text to configuration.

use std::sync::LazyLock;

use jsonschema::validator_for;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::*;

fn no_env(_: &str) -> Option<String> {
    None
}

fn problems(text: &str) -> Vec<String> {
    parse(text, &no_env).unwrap_err().iter().map(ToString::to_string).collect()
}

fn config(text: &str) -> Config {
    parse(text, &no_env).unwrap().config
}

#[test]
fn an_empty_file_is_all_defaults() {
    let c = config("");
    assert_eq!(c, Config::default());
    let l = &c.gateway.limits;
    assert_eq!((l.max_payload, l.max_buffered_bytes, l.tick_interval_ms), (524_288, 1_572_864, 30_000));
    assert_eq!((c.agents.defaults.max_concurrent, c.agents.defaults.timeout_seconds), (4, 600));
}

#[test]
fn every_default_is_within_its_own_bounds() {
    let value = serde_json::to_value(Config::default()).unwrap();
    assert_eq!(Config::deserialize(&value).unwrap(), Config::default());
    assert!(validator_for(schema()).unwrap().is_valid(&value));
}

#[test]
fn a_full_file_is_read() {
    let text = r##"{
      logging: { file: "/s/gw.log", level: "info" }, update: { checkOnStart: false },
      gateway: { mode: "local", trustedProxies: ["127.0.0.9", "10.0.0.0/8"], auth: { allowTailscale: true },
        nodes: { allowCommands: ["camera.snap"] }, reload: { mode: "hot", debounceMs: 50 }, tls: { enabled: true } },
      models: { mode: "merge", providers: { mock: { baseUrl: "http://127.0.0.1:9/v1", apiKey: "sk-mock",
        api: "openai-completions", models: [{ id: "mock-1", name: "Mock One", reasoning: false,
          input: ["text", "image"], contextWindow: 128000, maxTokens: 4096,
          cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 } }] } } },
      agents: { defaults: { model: { primary: "mock/mock-1" }, workspace: "/ws", heartbeat: { every: "0m" },
        skipBootstrap: true } },
      channels: { telegram: { botToken: "111111:TESTTOKEN", dmPolicy: "pairing",
        groups: { "*": { requireMention: true } }, apiRoot: "http://127.0.0.1:9/" },
        whatsapp: { dmPolicy: "pairing", selfChatMode: true }, discord: { x: 1 } },
      talk: { voiceId: "v", apiKey: "k" }, ui: { seamColor: "#112233" }, canvasHost: { root: "/cv" },
      messages: { ackReactionScope: "all" }, commands: { restart: true, native: "auto" }, cron: { maxConcurrentRuns: 2 },
    }"##;
    let loaded = parse(text, &no_env).unwrap();
    let c = &loaded.config;
    let model = resolve_model(c, "main").unwrap();
    assert_eq!((model.primary.provider.as_str(), model.primary.model.as_str()), ("mock", "mock-1"));
    let bot = &c.channels.telegram.as_ref().unwrap().accounts(None)[0];
    assert_eq!((bot.id.as_str(), bot.api_root.as_str(), bot.text_chunk_limit), ("default", "http://127.0.0.1:9", 4000));
    assert_eq!(bot.dm_policy, DmPolicy::Pairing);
    assert_eq!(unused_sections(c), ["cron", "ui", "update", "talk"]);
    assert_eq!(loaded.warnings, ["channels.discord: this gateway has no such channel"]);
}

#[test]
fn all_problems_are_listed_with_their_paths() {
    let found = problems(
        "{gateway:{bind:'mars', port: 0, prot: 1, auth:{mode:'tokn', token: 5}}, bogus: 1,
          agents:{list:[{name:'x'}, {id:'a', model: 7}, {id:'b c'}], defaults:{maxConcurrent:'many'}},
          session:{reset:{atHour:24}}}",
    );
    for expected in [
        "gateway.bind: expected \"loopback\", \"lan\", \"tailnet\", \"auto\" or \"custom\", found \"mars\"",
        "gateway.port: expected at least 1, found 0",
        "gateway.prot: unknown key; did you mean \"port\"?",
        "gateway.auth.mode: expected \"token\" or \"password\", found \"tokn\"",
        "gateway.auth.token: expected string, found a number",
        "bogus: unknown key",
        "agents.list[0].id: missing; it is required here",
        "agents.list[1].model: expected string or object, found 7",
        "agents.defaults.maxConcurrent: expected integer, found a string",
        "session.reset.atHour: expected at most 23, found 24",
    ] {
        assert!(found.iter().any(|f| f == expected), "{expected}\nnot in {found:#?}");
    }
}

#[test]
fn rules_are_checked_even_when_types_fail() {
    let found = problems("{bogus: 1, agents: {list: [{id: 'b c'}]}}");
    assert!(found.iter().any(|f| f.starts_with("agents.list[0].id: expected letters")), "{found:?}");
}

#[test]
fn a_wrong_part_of_an_alternative_is_named() {
    let found = problems("{agents:{defaults:{model:{primary:'a/b', falbacks:[]}}}}");
    assert_eq!(found, ["agents.defaults.model.falbacks: unknown key; did you mean \"fallbacks\"?"]);
    let found = problems("{channels:{telegram:{dmPolicy:'opn'}}}");
    assert!(found[0].starts_with("channels.telegram.dmPolicy: expected \"pairing\","), "{found:?}");
}

#[test]
fn legacy_keys_say_where_they_moved() {
    let found = problems("{gateway:{mode:'local',token:'abc'}, telegram:{}, agent:{model:'x'}}");
    for expected in [
        "gateway.token: this key has moved to gateway.auth.token",
        "telegram: this key has moved to channels.telegram",
        "agent: this key has moved to agents.defaults (the model: agents.defaults.model)",
    ] {
        assert!(found.iter().any(|f| f == expected), "{found:?}");
    }
}

#[test]
fn s15_only_numeric_ids_are_allowed() {
    let found = problems("{channels:{telegram:{allowFrom:[42,'tg:43','*','@alice','bob'], groups:{'x':{}}}}}");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("channels.telegram.allowFrom[3]: a user name can be given up"), "{found:?}");
    assert!(found[1].starts_with("channels.telegram.allowFrom[4]: expected a numeric user id"), "{found:?}");
    assert!(found[2].starts_with("channels.telegram.groups.x: expected a numeric chat id"), "{found:?}");
    for (list, place) in [
        ("groupAllowFrom:['@a']", "groupAllowFrom[0]"),
        ("groups:{'-1':{allowFrom:['@a']}}", "groups.-1.allowFrom[0]"),
        ("groups:{'-1':{topics:{'2':{allowFrom:[1,'@a']}}}}", "groups.-1.topics.2.allowFrom[1]"),
        ("accounts:{b:{allowFrom:['@a']}}", "accounts.b.allowFrom[0]"),
    ] {
        let found = problems(&format!("{{channels:{{telegram:{{{list}}}}}}}"));
        assert_eq!(found.len(), 1, "{list}: {found:?}");
        let expected = format!("channels.telegram.{place}: a user name can be given up");
        assert!(found[0].starts_with(&expected), "{list}: {found:?}");
    }
}

/// Who can reach a webhook without a secret is everybody whom Telegram has ever heard of.
#[test]
fn s15_a_webhook_needs_a_secret() {
    let found = problems("{channels:{telegram:{webhookUrl:'https://h/x'}}}");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("channels.telegram.webhookSecret: missing"), "{found:?}");
    let secret = "{channels:{telegram:{webhookUrl:'https://h/x', webhookSecret:'s'}}}";
    assert!(parse(secret, &no_env).is_ok(), "{:?}", problems(secret));
}

#[test]
fn f08_one_bot_is_configured_once() {
    let found = problems("{channels:{telegram:{accounts:{a:{botToken:'1:x'},b:{botToken:'1:x'}}}}}");
    let expected = "channels.telegram.accounts.b.botToken: is the same as channels.telegram.accounts.a.botToken: ";
    assert!(found[0].starts_with(expected), "{found:?}");
}

/// What starts, and is asked for trouble, is told.
#[test]
fn s03_weak_secrets_and_wide_proxies_are_warned_of() {
    let warnings = |gateway: &str| {
        let loaded = parse(&format!("{{gateway:{{{gateway}}}}}"), &no_env).unwrap();
        loaded.warnings.join("\n")
    };
    for weak in ["changeme", "changemechangeme", "hunter2", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        let found = warnings(&format!("auth:{{token:'{weak}'}}"));
        assert!(found.starts_with("gateway.auth.token ") && !found.contains(weak), "{found}");
        assert!(warnings(&format!("auth:{{mode:'password',password:'{weak}'}}")).starts_with("gateway.auth.password "));
    }
    assert_eq!(warnings("auth:{token:'9f86d081884c7d659a2feaa0c55ad015'}"), "");
    for wide in ["0.0.0.0/0", "::/0", "128.0.0.0/1"] {
        let found = warnings(&format!("trustedProxies:['127.0.0.1','{wide}']"));
        assert!(found.starts_with("gateway.trustedProxies[1]: ") && found.contains(wide), "{found}");
    }
    assert_eq!(warnings("trustedProxies:['10.0.0.0/8','127.0.0.1','fd00::/8']"), "");
    let hooks = parse("{hooks:{token:'secret'}}", &no_env).unwrap();
    assert!(hooks.warnings[0].starts_with("hooks.token "), "{:?}", hooks.warnings);
}

#[test]
fn s10_the_hook_token_is_not_the_gateway_token() {
    for (auth, hooks) in [("token:'t'", "t"), ("token:'t'", " t\\n"), ("token:' t'", "t"), ("password:'t'", "t ")] {
        let found = problems(&format!("{{gateway:{{auth:{{{auth}}}}}, hooks:{{token:'{hooks}'}}}}"));
        assert!(found[0].starts_with("hooks.token: must differ"), "{found:?}");
    }
}

#[test]
fn s17_no_secret_is_in_a_problem() {
    for text in [
        "{gateway:{auth:{token:['hunter2']}}}",
        "{gateway:{auth:'hunter2'}}",
        "{channels:{telegram:{accounts:{a:{botToken:'hunter2'},b:{botToken:'hunter2'}}}}}",
        "{models:{providers:{p:{baseUrl:'x', apiKey:{v:'hunter2'}}}}}",
    ] {
        let found = problems(text);
        assert!(!found.is_empty() && !format!("{found:?}").contains("hunter2"), "{found:?}");
    }
    let secret = "{gateway:{auth:{token:'hunter2'}}}";
    let loaded = parse(secret, &no_env).unwrap();
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
    assert!(!serde_json::to_string(&loaded.config).unwrap().contains("hunter2"));
}

#[test]
fn other_rules() {
    for (text, expected) in [
        ("{agents:{list:[{id:'a'},{id:'A'}]}}", "agents.list[1].id: the id \"A\" is already taken"),
        ("{gateway:{auth:{token:' '}}}", "gateway.auth.token: is empty; set a value or remove the key"),
        ("{gateway:{bind:'custom'}}", "gateway.customBindHost: missing; gateway.bind \"custom\" needs it"),
        ("{gateway:{limits:{maxPayload:1}}}", "gateway.limits.maxPayload: expected at least 4096, found 1"),
        (
            "{agents:{defaults:{model:'gpt'}}}",
            "agents.defaults.model: expected provider/model or an alias of agents.defaults.models, found \"gpt\"",
        ),
        (
            "{models:{providers:{p:{baseUrl:'http://h'}}},agents:{defaults:{model:{primary:'q/m',fallbacks:['builtin/echo']}}}}",
            "agents.defaults.model.primary: no provider \"q\" under models.providers (there: p)",
        ),
        (
            "{agents:{defaults:{heartbeat:{every:'often'}}}}",
            "agents.defaults.heartbeat.every: expected a duration such as 30m or 1h, found \"often\"",
        ),
        ("[]", "expected object, found a list"),
    ] {
        assert_eq!(problems(text), [expected]);
    }
}

#[test]
fn unset_variables_are_problems_and_do_not_hide_others() {
    let found = problems("{gateway:{mode:'local',bogus:1},talk:{voiceId:'${NOT_SET_ANYWHERE}'}}");
    assert!(found[0].starts_with("talk.voiceId: the variable NOT_SET_ANYWHERE is not set"), "{found:?}");
    assert_eq!(found[1], "gateway.bogus: unknown key");
}

#[test]
fn accounts_inherit_but_never_share_a_token() {
    let c = config(
        "{channels:{defaults:{groupPolicy:'open'},telegram:{botToken:'1:a',allowFrom:[42],textChunkLimit:100,
          accounts:{work:{botToken:'2:b',allowFrom:['43'],enabled:false},bare:{}}}}}",
    );
    let telegram = c.channels.telegram.unwrap();
    let all = telegram.accounts(c.channels.defaults.as_ref());
    let ids: Vec<&str> = all.iter().map(|a| a.id.as_str()).collect();
    assert_eq!(ids, ["default", "work", "bare"]);
    assert_eq!(
        (all[1].allow_from.as_slice(), all[1].enabled, all[1].text_chunk_limit),
        (&["43".to_owned()][..], false, 100)
    );
    assert_eq!((all[2].bot_token.as_ref(), all[2].allow_from.as_slice()), (None, &["42".to_owned()][..]));
    assert_eq!(all[0].group_policy, GroupPolicy::Open);
    assert_eq!(all[0].group_allow_from, ["42"]);
}

#[test]
fn d35_there_is_no_silent_model() {
    assert_eq!(resolve_model(&Config::default(), "main"), None);
    let c = config(
        "{agents:{defaults:{model:{primary:'builtin/echo',fallbacks:['a/b/c','builtin/echo','a/b/c']}},list:[{id:'x',model:'p/q'}]}}",
    );
    let main = resolve_model(&c, "main").unwrap();
    assert_eq!(main.primary.to_string(), ECHO_MODEL);
    assert_eq!(main.fallbacks, [ModelRef { provider: "a".to_owned(), model: "b/c".to_owned() }]);
    assert_eq!(resolve_model(&c, "x").unwrap().primary.to_string(), "p/q");
}

/// Values that look like configurations: known and unknown keys, right and wrong types.
fn any_section() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![
            Just(0i64),
            Just(-1),
            Just(1),
            Just(4096),
            Just(65535),
            Just(65536),
            any::<i32>().prop_map(i64::from)
        ]
        .prop_map(Value::from),
        (0.0f64..2.0).prop_map(Value::from),
        prop::sample::select(vec![
            "local",
            "token",
            "auto",
            "loopback",
            "main",
            "info",
            "a/b",
            "30m",
            "pairing",
            "daily",
            "all",
            "text",
            "*",
            "",
            "openai-completions",
            "collect",
            "off",
        ])
        .prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "mode",
        "port",
        "bind",
        "auth",
        "token",
        "limits",
        "maxPayload",
        "reload",
        "debounceMs",
        "defaults",
        "list",
        "id",
        "model",
        "primary",
        "fallbacks",
        "heartbeat",
        "every",
        "default",
        "telegram",
        "dmPolicy",
        "allowFrom",
        "groups",
        "accounts",
        "textChunkLimit",
        "retry",
        "attempts",
        "jitter",
        "providers",
        "baseUrl",
        "models",
        "input",
        "cost",
        "reset",
        "atHour",
        "resetTriggers",
        "level",
        "maxBytes",
        "queue",
        "byChannel",
        "native",
        "exec",
        "ask",
        "bogus",
    ]);
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            4 => prop::collection::btree_map(keys.clone(), inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

fn any_config() -> impl Strategy<Value = Value> {
    let sections = [
        "gateway",
        "agents",
        "models",
        "channels",
        "session",
        "messages",
        "tools",
        "commands",
        "logging",
        "canvasHost",
        "env",
        "cron",
        "nope",
    ];
    prop::collection::btree_map(prop::sample::select(sections.to_vec()), any_section(), 0..4)
        .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()))
}

/// Sets one field of the default configuration, so that valid and nearly valid files are common.
fn mutated_default() -> impl Strategy<Value = Value> {
    fn leaves(value: &Value, path: Path, out: &mut Vec<Path>) {
        if let Value::Object(map) = value {
            map.iter().for_each(|(k, v)| leaves(v, path.key(k), out));
        }
        out.push(path);
    }
    let full = serde_json::to_value(Config::default()).unwrap();
    let mut paths = vec![];
    leaves(&full, Path::default(), &mut paths);
    paths.retain(|p| !p.segments().is_empty());
    (prop::sample::select(paths), any_section()).prop_map(move |(path, new)| {
        let text = edit::set(&full.to_string(), &path, &new).unwrap();
        read_value(&text).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn types_and_schema_give_the_same_verdict(value in prop_oneof![any_config(), mutated_default()]) {
        static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| validator_for(schema()).unwrap());
        let validator = &*VALIDATOR;
        let typed = typed::typed(&value);
        prop_assert_eq!(typed.is_ok(), validator.is_valid(&value), "{:?} {}", typed.err(), value);
    }

    #[test]
    fn every_refusal_has_reasons(value in any_config()) {
        if let Err(problems) = parse(&value.to_string(), &no_env) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn s21_arbitrary_text_never_panics(text in r#"[\[\]{}:,'"a-z0-9.+E/*\\$ \n-]{0,80}"#) {
        let _ = parse(&text, &no_env);
    }
}

#[test]
fn a_bare_json_value_is_no_configuration() {
    assert_eq!(problems("5"), ["expected object, found 5"]);
    assert_eq!(json!(problems("null")), json!(["expected object, found null"]));
}

#[test]
fn s18_a_problem_shows_no_control_characters() {
    let problems = parse("{'a\\x1b[31m': 1, models: {'': 1}}", &|_| None).unwrap_err();
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(shown.iter().any(|p| p.starts_with("[\"a\\u{1b}")), "{shown:?}");
    assert!(!shown.concat().chars().any(char::is_control), "{shown:?}");
    // Every path can be used to take out what it names.
    for problem in problems {
        assert!(crate::Path::parse(&problem.path).is_ok(), "{problem:?}");
    }
}

#[test]
fn f19_a_number_beyond_its_type_is_found_where_it_stands() {
    let text = "{models: {providers: {o: {baseUrl: 'http://h', models: [{id: 'm', contextWindow: 1e22}]}}}}";
    let problems = parse(text, &no_env).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].path, "models.providers.o.models[0].contextWindow");
    let most =
        "{models: {providers: {o: {baseUrl: 'http://h', models: [{id: 'm', contextWindow: 18446744073709551615}]}}}}";
    assert!(parse(most, &no_env).is_ok());
    for number in ["-4.8e153", "5.5", "1e22"] {
        let text = format!("{{channels: {{telegram: {{groupAllowFrom: [1, {number}]}}}}}}");
        let problems = parse(&text, &no_env).unwrap_err();
        assert_eq!(problems[0].path, "channels.telegram.groupAllowFrom[1]", "{number}: {problems:?}");
    }
}

/// Whose commands are taken: those of the channel's list and of everybody's.
#[test]
fn d38_commands_are_taken_from_those_who_are_named() {
    let of = |text: &str| parse(text, &|_| None).unwrap().config.commands;
    assert!(of("{}").allows("telegram", "42"));
    let named = of("{commands:{allowFrom:{telegram:['tg:42'],'*':['7']}}}");
    assert!(named.allows("telegram", "42") && named.allows("telegram", "7") && named.allows("whatsapp", "7"));
    assert!(!named.allows("telegram", "43") && !named.allows("whatsapp", "42"));
    assert!(!of("{commands:{allowFrom:{}}}").allows("telegram", "42"));
    assert!(of("{commands:{allowFrom:{telegram:['*']}}}").allows("telegram", "42"));
}

/// A pin that was misread is never left out: the client that needs it refuses it, and a gateway starts all the same (D36, D38).
#[test]
fn d38_a_pin_that_means_nothing_stays_in_the_way() {
    for written in [json!(5), json!([]), json!({})] {
        let file = json!({ "gateway": { "mode": "local", "remote": { "tlsFingerprint": written } } }).to_string();
        let loaded = read(&file, &|_: &str| None).unwrap();
        assert_eq!(loaded.config.gateway.remote.tls_fingerprint.as_deref(), Some("none"), "{file}");
        assert!(loaded.warnings.iter().any(|told| told.contains("tlsFingerprint")), "{:?}", loaded.warnings);
    }
}
