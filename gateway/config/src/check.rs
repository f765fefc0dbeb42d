//! What types cannot say: rules over a typed configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    Bind, Config, ListEntry, ModelChoice, Network, Problem, REDACTED, Secret, SessionVisibility, Telegram,
    binding_rules, known, model_named, parse_duration, path::Path, sandbox_of, weakness,
};

/// All violations.
pub(crate) fn check(config: &Config) -> Vec<Problem> {
    let mut check = Check { problems: vec![] };
    check.gateway(config);
    check.agents(config);
    check.models(config);
    if let Some(telegram) = &config.channels.telegram {
        check.telegram(telegram);
    }
    for name in config.browser.profiles.keys() {
        if !is_profile(name) {
            check.add(
                Path::default().key("browser").key("profiles").key(name).to_string(),
                "expected a name of letters, digits and dashes, at most 64".to_owned(),
            );
        }
    }
    let key = &config.session.main_key;
    if !is_id(key) {
        check.add("session.mainKey", format!("expected letters, digits, _ and -, at most 64, found {key:?}"));
    }
    let maintenance = &config.session.maintenance;
    if maintenance.prune_after().is_none() {
        let found = &maintenance.prune_after;
        check
            .add("session.maintenance.pruneAfter", format!("expected a time from 1h on, such as 90d, found {found:?}"));
    }
    check.problems
}

/// A name that is also one of a directory, and of nothing else there (`gateway/browser/src/profiles.rs`).
fn is_profile(name: &str) -> bool {
    let name = name.trim();
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// What an operator should know although it stops nothing.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let unknown = config.channels.other.keys().map(|id| format!("channels.{id}: this gateway has no such channel"));
    let unknown = unknown
        .chain(sandbox_of::unknown_keys(config))
        .chain(binding_rules::warnings(config, |channel| accounts(config, channel)));
    let webhook = config.channels.telegram.iter().flat_map(Telegram::layers).filter(|(_, t)| t.webhook_url.is_some());
    let polled =
        webhook.map(|_| "channels.telegram.webhookUrl: this version polls instead, which needs no address".to_owned());
    let unnamed = config.channels.telegram.iter().flat_map(Telegram::unnamed_senders);
    let unnamed = unnamed.map(|at| {
        format!("{at}: no numeric user id, and a name can change hands; its limits hold for everybody there")
    });
    let partial = config.tools.sessions.visibility.filter(|v| *v != SessionVisibility::All).map(|_| {
        "tools.sessions.visibility: a part of the sessions cannot be shown in this version, so that tools that show sessions are not \
         offered (D38)"
            .to_owned()
    });
    let named =
        config.commands.allow_from.as_ref().map(|_| {
            "commands.allowFrom: limits slash commands; stop words stay with all who may end the run".to_owned()
        });
    unknown
        .chain(polled)
        .chain(unnamed)
        .chain(partial)
        .chain(named)
        .chain(weak_secrets(config))
        .chain(wide_proxies(config))
        .collect()
}

/// Accounts of a channel that is configured here and signs in with them.
fn accounts(config: &Config, channel: &str) -> Option<Vec<String>> {
    let telegram = config.channels.telegram.as_ref().filter(|_| channel.eq_ignore_ascii_case("telegram"))?;
    Some(telegram.accounts(None).into_iter().map(|account| account.id).collect())
}

/// Shared secrets that are guessed soon (S03, D40).
fn weak_secrets(config: &Config) -> impl Iterator<Item = String> {
    let auth = &config.gateway.auth;
    let hooks = config.hooks.as_ref().and_then(|h| h.get("token")).and_then(|t| t.as_str()).map(Secret::new);
    let secrets = [
        ("gateway.auth.token", auth.token.clone()),
        ("gateway.auth.password", auth.password.clone()),
        ("hooks.token", hooks),
    ];
    secrets.into_iter().filter_map(|(path, secret)| {
        let secret = secret.filter(|s| !s.expose().starts_with("$argon2"))?;
        let why = weakness(secret.expose())?;
        Some(format!("{path} {why}; `openssl rand -hex 32` makes a good one"))
    })
}

/// Whoever may connect from a trusted proxy says from where it comes (S13, S37).
fn wide_proxies(config: &Config) -> impl Iterator<Item = String> {
    let proxies = config.gateway.trusted_proxies.iter().enumerate();
    proxies.filter(|(_, proxy)| Network::parse(proxy).is_some_and(|n| n.is_wide())).map(|(i, proxy)| {
        format!(
            "gateway.trustedProxies[{i}]: {proxy} trusts every machine there to say from where a client comes; \
             name the addresses of the proxies"
        )
    })
}

struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), message: message.into(), line: None, column: None });
    }

    fn gateway(&mut self, config: &Config) {
        let gateway = &config.gateway;
        for (name, secret) in [
            ("gateway.auth.token", &gateway.auth.token),
            ("gateway.auth.password", &gateway.auth.password),
            ("gateway.remote.token", &gateway.remote.token),
            ("gateway.remote.password", &gateway.remote.password),
        ] {
            self.secret(name, secret.as_ref());
        }
        match (&gateway.custom_bind_host, gateway.bind) {
            (None, Bind::Custom) => self.add("gateway.customBindHost", "missing; gateway.bind \"custom\" needs it"),
            (Some(host), _) if host.parse::<IpAddr>().is_err() => {
                self.add("gateway.customBindHost", format!("expected an IP address, found {host:?}"));
            }
            _ => {}
        }
        for (i, proxy) in gateway.trusted_proxies.iter().enumerate() {
            if Network::parse(proxy).is_none() {
                let path = format!("gateway.trustedProxies[{i}]");
                self.add(path, format!("expected an IP address or a range such as 10.0.0.0/8, found {proxy:?}"));
            }
        }
        for (i, origin) in gateway.control_ui.allowed_origins.iter().enumerate() {
            if !is_origin(origin) {
                let path = format!("gateway.controlUi.allowedOrigins[{i}]");
                self.add(path, format!("expected an origin such as https://ui.example:8443, found {origin:?}"));
            }
        }
        let auth = &gateway.auth;
        for (name, value, file) in
            [("token", &auth.token, &auth.token_file), ("password", &auth.password, &auth.password_file)]
        {
            if value.is_some() && file.is_some() {
                self.add(format!("gateway.auth.{name}File"), format!("gateway.auth.{name} is set, too; keep one"));
            }
        }
        if let Some(url) = &gateway.remote.url
            && !url.starts_with("ws://")
            && !url.starts_with("wss://")
        {
            self.add("gateway.remote.url", "expected a ws:// or wss:// URL");
        }
        let hooks = config.hooks.as_ref().and_then(|h| h.get("token")).and_then(|t| t.as_str());
        for (name, secret) in [("token", &gateway.auth.token), ("password", &gateway.auth.password)] {
            // A space more or less does not make two secrets of one.
            if hooks.is_some() && hooks.map(str::trim) == secret.as_ref().map(|s| s.expose().trim()) {
                self.add("hooks.token", format!("must differ from gateway.auth.{name}: it opens less"));
            }
        }
    }

    fn secret(&mut self, path: &str, secret: Option<&Secret>) {
        let Some(secret) = secret else { return };
        if secret.expose().trim().is_empty() {
            self.add(path, "is empty; set a value or remove the key");
        } else if secret.expose() == REDACTED {
            self.add(path, format!("is {REDACTED}, which stands for a secret that was not shown; set the real value"));
        }
    }

    fn agents(&mut self, config: &Config) {
        let mut seen = BTreeSet::new();
        for (i, agent) in config.agents.list.iter().enumerate() {
            let path = format!("agents.list[{i}]");
            if !is_id(&agent.id) {
                let found = format!("expected letters, digits, _ and -, at most 64, found {:?}", agent.id);
                self.add(format!("{path}.id"), found);
            } else if !seen.insert(agent.id.to_ascii_lowercase()) {
                self.add(format!("{path}.id"), format!("the id {:?} is already taken", agent.id));
            }
            self.model(config, &format!("{path}.model"), agent.model.as_ref());
            if let Some(heartbeat) = &agent.heartbeat {
                self.duration(&format!("{path}.heartbeat.every"), &heartbeat.every);
            }
        }
        let defaults = config.agents.list.iter().enumerate().filter(|(_, agent)| agent.default);
        for (i, _) in defaults.skip(1) {
            self.add(
                format!("agents.list[{i}].default"),
                "more than one agent has default: true; the first one counts",
            );
        }
        self.model(config, "agents.defaults.model", config.agents.defaults.model.as_ref());
        self.duration("agents.defaults.heartbeat.every", &config.agents.defaults.heartbeat.every);
    }

    fn duration(&mut self, path: &str, text: &str) {
        if parse_duration(text).is_none() {
            self.add(path, format!("expected a duration such as 30m or 1h, found {text:?}"));
        }
    }

    fn model(&mut self, config: &Config, path: &str, choice: Option<&ModelChoice>) {
        let Some(choice) = choice else { return };
        let (primary, fallbacks) = choice.refs();
        let list = matches!(choice, ModelChoice::List(_));
        let primary = primary.map(|p| (if list { format!("{path}.primary") } else { path.to_owned() }, p));
        let fallbacks = fallbacks.iter().enumerate().map(|(i, f)| (format!("{path}.fallbacks[{i}]"), f.as_str()));
        for (path, text) in primary.into_iter().chain(fallbacks) {
            let Some(model) = model_named(config, text) else {
                let expected = "expected provider/model or an alias of agents.defaults.models";
                self.add(path, format!("{expected}, found {text:?}"));
                continue;
            };
            let providers = &config.models.providers;
            let known = model.provider == "builtin" || known::find(&model.provider).is_some();
            if !providers.is_empty() && !known && !providers.contains_key(&model.provider) {
                let names: Vec<&str> = providers.keys().map(String::as_str).collect();
                let listed = names.join(", ");
                self.add(path, format!("no provider {:?} under models.providers (there: {listed})", model.provider));
            }
        }
    }

    fn models(&mut self, config: &Config) {
        for (id, provider) in &config.models.providers {
            let path = Path::default().key("models").key("providers").key(id);
            if id.trim().is_empty() || id.contains('/') {
                self.add(path.to_string(), "a provider's id must not be empty nor hold a slash");
            }
            let url = provider.address(id);
            if url.is_empty() {
                self.add(path.key("baseUrl").to_string(), "missing; only known providers need none");
            } else if !is_http(url) {
                self.add(path.key("baseUrl").to_string(), "expected an http:// or https:// URL");
            }
            self.secret(&path.key("apiKey").to_string(), provider.api_key.as_ref());
            let mut seen = BTreeSet::new();
            for (i, model) in provider.models.iter().enumerate() {
                let path = path.key("models").index(i).key("id").to_string();
                if model.id.trim().is_empty() {
                    self.add(path, "is empty");
                } else if !seen.insert(&model.id) {
                    self.add(path, format!("the model {:?} is listed twice", model.id));
                }
            }
        }
    }

    fn telegram(&mut self, telegram: &Telegram) {
        let mut tokens: BTreeMap<&str, String> = BTreeMap::new();
        for (account, settings) in telegram.layers() {
            let base = Path::default().key("channels").key("telegram");
            let base = account.map_or_else(|| base.clone(), |id| base.key("accounts").key(id));
            let at = |key: &str| base.key(key).to_string();
            if let Some(id) = account {
                if !is_id(id) {
                    self.add(base.to_string(), "an account id has letters, digits, _ and -, at most 64");
                }
                if !settings.accounts.is_empty() {
                    self.add(at("accounts"), "an account cannot have accounts");
                }
            }
            self.secret(&at("botToken"), settings.bot_token.as_ref());
            if let Some(token) = &settings.bot_token
                && let Some(other) = tokens.insert(token.expose(), at("botToken"))
            {
                self.add(at("botToken"), format!("is the same as {other}: one bot cannot be polled twice (F08)"));
            }
            self.people(&base.key("allowFrom"), settings.allow_from.as_deref());
            self.people(&base.key("groupAllowFrom"), settings.group_allow_from.as_deref());
            for (id, group) in settings.group_map() {
                let path = base.key("groups").key(id);
                if !is_chat_id(id) && id != "*" {
                    self.add(path.to_string(), "expected a numeric chat id such as -1001234567890, or \"*\"");
                }
                self.people(&path.key("allowFrom"), group.allow_from.as_deref());
                for (topic, settings) in &group.topics {
                    let path = path.key("topics").key(topic);
                    if topic.parse::<u64>().is_err() {
                        self.add(path.to_string(), "expected a numeric topic id");
                    }
                    self.people(&path.key("allowFrom"), settings.allow_from.as_deref());
                }
            }
            if settings.api_root.as_deref().is_some_and(|url| !is_http(url)) {
                self.add(at("apiRoot"), "expected an http:// or https:// URL");
            }
            if settings.webhook_url.is_some() && settings.webhook_secret.is_none() && telegram.webhook_secret.is_none()
            {
                self.add(at("webhookSecret"), "missing; a webhook without it takes messages from anyone (S15)");
            }
            if let Some(retry) = &settings.retry {
                if retry.min_delay_ms > retry.max_delay_ms {
                    self.add(base.key("retry").key("minDelayMs").to_string(), "is larger than maxDelayMs");
                }
                if !(0.0..=1.0).contains(&retry.jitter) {
                    self.add(base.key("retry").key("jitter").to_string(), "expected 0 to 1");
                }
            }
        }
    }

    /// S15: user names can be changed and taken over, numeric ids cannot.
    fn people(&mut self, path: &Path, list: Option<&[ListEntry]>) {
        for (i, entry) in list.into_iter().flatten().enumerate() {
            let id = entry.id();
            if id != "*" && !is_chat_id(&id) {
                let why = if id.starts_with('@') {
                    "a user name can be given up and taken by somebody else; write the numeric user id"
                } else {
                    "expected a numeric user id, or \"*\" for everybody"
                };
                self.add(path.index(i).to_string(), format!("{why} (found {id:?})"));
            }
        }
    }
}

/// Agents, accounts, sessions: what becomes part of keys (S11).
fn is_id(id: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !id.is_empty() && id.len() <= 64 && id.chars().all(good) && !id.starts_with('-')
}

fn is_chat_id(id: &str) -> bool {
    id.parse::<i64>().is_ok_and(|n| n != 0) && !id.starts_with('+')
}

/// Scheme and authority, nothing after them; no pattern (S02).
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !scheme.is_empty() && scheme.chars().all(lower) && !authority.is_empty() && authority.chars().all(plain)
}

fn is_http(url: &str) -> bool {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    host.is_some_and(|h| !h.is_empty() && !h.starts_with('/') && !h.contains(char::is_whitespace))
}
