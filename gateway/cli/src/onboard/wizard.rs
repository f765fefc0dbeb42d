//! The questions, in their order. Flags answer them first, then what is there already, then the person; without a person,
//! the default.

use std::{path::Path as FsPath, sync::Arc};

use openclaw_config::{Config, ECHO_MODEL, GatewayMode, Path, weakness};
use openclaw_platform::{EntropyExt as _, os::OsEntropy};

use super::{
    args::{ExecAccess, Flow, Mode, OnboardArgs},
    ask::Ask,
    check::{self, Checked},
    found::Found,
    providers, secrets, service,
    settings::{Setting, exec_settings, setting},
};
use crate::{
    args::{Auth, BindMode},
    failure::Failure,
    first_file::TOKEN_BYTES,
    profile_ports,
    session::Session,
};

/// How often a key is typed again before it is left as it is.
const TRIES: usize = 3;

/// The questions and what came of them so far.
pub struct Wizard<'a, 'p> {
    session: &'a Session,
    args: &'a OnboardArgs,
    found: &'a Found,
    /// None: nobody is asked.
    ask: Option<&'p mut dyn Ask>,
    /// What is to be written.
    pub settings: Vec<Setting>,
    /// What services said.
    pub checks: Vec<Checked>,
    /// What the person should know at the end.
    pub notes: Vec<String>,
    /// Whether the system is to start the gateway.
    pub wants_service: bool,
}

impl<'a, 'p> Wizard<'a, 'p> {
    /// Nothing is asked yet.
    pub fn new(session: &'a Session, args: &'a OnboardArgs, found: &'a Found, ask: Option<&'p mut dyn Ask>) -> Self {
        let (settings, checks, notes) = (vec![], vec![], vec![]);
        Self { session, args, found, ask, settings, checks, notes, wants_service: args.install_daemon }
    }

    /// Asks everything. True when the gateway runs on this machine.
    ///
    /// # Errors
    /// Usage: a flag is missing where nobody can be asked; Quiet when the person leaves. Nothing is written here.
    pub async fn run(&mut self) -> Result<bool, Failure> {
        self.risk()?;
        if self.mode()? == GatewayMode::Remote {
            self.remote()?;
            return Ok(false);
        }
        self.place()?;
        self.credential()?;
        self.model().await?;
        self.channels().await?;
        self.exec_access()?;
        self.service()?;
        Ok(true)
    }

    fn risk(&mut self) -> Result<(), Failure> {
        let Some(ask) = self.ask.as_mut().filter(|_| !self.args.accept_risk) else { return Ok(()) };
        ask.say(
            "An agent with tools acts on this machine with your rights, and whoever may write to it can try to make it. Let in \
             whom you trust, and keep the gateway off the open internet (docs/security.md).",
        );
        if ask.confirm("Go on?", true)? { Ok(()) } else { Err(Failure::Quiet(1)) }
    }

    fn mode(&mut self) -> Result<GatewayMode, Failure> {
        if let Some(mode) = self.found.mode() {
            if self.args.mode.is_some_and(|asked| (asked == Mode::Local) != (mode == GatewayMode::Local)) {
                self.kept("gateway.mode");
            }
            return Ok(mode);
        }
        let mode = match (self.args.mode, self.ask.as_mut()) {
            (Some(mode), _) => mode,
            (None, None) => Mode::Local,
            (None, Some(ask)) => {
                let items = ["here, on this machine", "elsewhere; this machine only asks it"].map(str::to_owned);
                if ask.select("Where does the gateway run?", &items, 0)? == 0 { Mode::Local } else { Mode::Remote }
            }
        };
        let (word, mode) = match mode {
            Mode::Local => ("local", GatewayMode::Local),
            Mode::Remote => ("remote", GatewayMode::Remote),
        };
        self.settings.push(setting("gateway.mode", word));
        Ok(mode)
    }

    fn remote(&mut self) -> Result<(), Failure> {
        let remote = &self.found.config.gateway.remote;
        let url = match (&self.args.remote_url, self.ask.as_mut()) {
            (Some(url), _) => Some(url.clone()),
            (None, _) if remote.url.is_some() => None,
            (None, Some(ask)) => Some(ask.input("The gateway's address (ws://HOST:PORT or wss://HOST)", "")?),
            (None, None) => return Err(Failure::Usage("--mode remote needs --remote-url ws://HOST:PORT".to_owned())),
        };
        if let Some(url) = url {
            if !["ws://", "wss://"].iter().any(|scheme| url.starts_with(scheme)) {
                return Err(Failure::Usage(format!("the gateway's address: expected ws:// or wss://, found {url:?}")));
            }
            self.settings.push(setting("gateway.remote.url", url));
        }
        let (text, file) = (self.args.remote_token.as_ref(), self.args.remote_token_file.as_deref());
        let token = match (secrets::given(text, file, "--remote-token")?, self.ask.as_mut()) {
            (Some(token), _) => Some(token),
            (None, Some(ask)) if remote.token.is_none() => {
                Some(ask.secret("Its token (Enter: none)")?).filter(|token| !token.is_empty())
            }
            (None, _) => None,
        };
        self.settings.extend(token.map(|token| setting("gateway.remote.token", token)));
        Ok(())
    }

    /// Directory, port, address.
    fn place(&mut self) -> Result<(), Failure> {
        let paths = &self.session.paths;
        let is_advanced = self.args.flow == Some(Flow::Advanced);
        let workspace = self.args.workspace.as_deref().map(|dir| expanded(self.session, dir));
        let mut workspace = workspace.unwrap_or_else(|| paths.default_workspace());
        // One that exists already stays where it is found.
        let is_new = self.found.text.is_none();
        let default_port = if is_new { profile_ports::free_base(self.session, None) } else { None };
        let mut port = self.args.gateway_port.or(default_port);
        let mut bind = self.args.gateway_bind;
        if let Some(ask) = self.ask.as_mut().filter(|_| is_advanced) {
            if self.args.workspace.is_none() && self.found.config.agents.defaults.workspace.is_none() {
                let shown = workspace.display().to_string();
                workspace = paths.expand(&ask.input("Where do agents work?", &shown)?);
            }
            if self.args.gateway_port.is_none() && self.found.config.gateway.port.is_none() {
                let (now, _) = paths.port(port, &self.session.env, None)?;
                let text = ask.input("Port of the gateway", &now.to_string())?;
                let wrong = || Failure::Usage(format!("a port: expected a number from 1 to 65535, found {text:?}"));
                port = Some(text.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?);
            }
            if bind.is_none() && !self.found.has(&setting("gateway.bind", "").path) {
                let items = [
                    "loopback: this machine only (others by SSH or Tailscale)",
                    "lan: every interface",
                    "tailnet: its Tailscale address",
                ];
                let chosen = ask.select("Where does it listen?", &items.map(str::to_owned), 0)?;
                bind = [BindMode::Loopback, BindMode::Lan, BindMode::Tailnet].get(chosen).copied();
            }
        }
        if bind == Some(BindMode::Custom) && self.found.config.gateway.custom_bind_host.is_none() {
            return Err(Failure::Usage(
                "--gateway-bind custom needs the address: `openclaw config set gateway.customBindHost ADDRESS` first"
                    .to_owned(),
            ));
        }
        self.settings.extend(port.map(|port| setting("gateway.port", port)));
        self.settings.extend(bind.map(|bind| setting("gateway.bind", word(bind))));
        self.settings.push(setting("agents.defaults.workspace", workspace.display().to_string()));
        Ok(())
    }

    /// Always one, on loopback too: every program of this machine reaches a loopback port.
    fn credential(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let token = secrets::given(args.gateway_token.as_ref(), args.gateway_token_file.as_deref(), "--gateway-token")?;
        let password = secrets::given(
            args.gateway_password.as_ref(),
            args.gateway_password_file.as_deref(),
            "--gateway-password",
        )?;
        if self.found.has_credential() {
            if token.is_some() || password.is_some() || args.gateway_auth.is_some() {
                self.kept("gateway.auth");
            }
            return Ok(());
        }
        let by_password = match (args.gateway_auth, &password) {
            (Some(mode), _) => mode == Auth::Password,
            (None, password) => password.is_some() && token.is_none(),
        };
        if !by_password {
            let token = token.unwrap_or_else(|| OsEntropy.hex(TOKEN_BYTES));
            self.weak("token", &token);
            self.settings.extend([setting("gateway.auth.mode", "token"), setting("gateway.auth.token", token)]);
            return Ok(());
        }
        let password = match (password, self.ask.as_mut()) {
            (Some(password), _) => password,
            (None, Some(ask)) => ask.secret("A password for the gateway")?,
            (None, None) => String::new(),
        };
        if password.is_empty() {
            let text = "--gateway-auth password needs --gateway-password-file PATH (or - for standard input)";
            return Err(Failure::Usage(text.to_owned()));
        }
        self.weak("password", &password);
        self.settings.extend([setting("gateway.auth.mode", "password"), setting("gateway.auth.password", password)]);
        Ok(())
    }

    fn weak(&mut self, name: &str, secret: &str) {
        if let Some(why) = weakness(secret) {
            self.notes.push(format!("the gateway's {name} {why}; `openssl rand -hex 32` makes a good one"));
        }
    }

    async fn model(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let key = match args.named_key() {
            Some((_, key)) => secrets::given(Some(key), None, "--api-key")?,
            None => secrets::given(args.api_key.as_ref(), args.api_key_file.as_deref(), "--api-key")?,
        };
        let by_flag = args.named_key().map(|(provider, _)| Some(provider.to_owned()));
        let by_flag = by_flag.or_else(|| args.auth_choice.as_deref().map(providers::id));
        let by_model = || args.model.as_deref().and_then(|m| m.split_once('/')).map(|(p, _)| Some(p.to_owned()));
        let mut chosen = by_flag.or_else(by_model);
        if chosen.is_none() && key.is_some() {
            return Err(Failure::Usage("--api-key: of which provider? Name it with --provider".to_owned()));
        }
        if chosen.is_none() && self.found.model().is_some() {
            return Ok(());
        }
        if let (None, Some(ask)) = (&chosen, self.ask.as_mut()) {
            let mut items = vec!["none for now (a built-in model repeats what it is told)".to_owned()];
            items.extend(providers::all().into_iter().map(str::to_owned));
            items.push("another one (with an address, OpenAI chat completions)".to_owned());
            let at = ask.select("Which model provider?", &items, 0)?;
            chosen = Some(match at {
                0 => None,
                at if at == items.len() - 1 => Some(ask.input("A name for it", "custom")?),
                at => Some(items[at].clone()),
            });
        }
        let Some(Some(provider)) = chosen else {
            self.settings.push(setting("agents.defaults.model", ECHO_MODEL));
            return Ok(());
        };
        let base = self.base_url(&provider)?;
        let (mut key, mut tries) = (key, 0);
        loop {
            let settings = self.model_settings(&provider, base.as_ref(), key.take())?;
            let checked = if self.args.skip_checks { None } else { check::model(self.preview(&settings)?).await };
            tries += 1;
            match self.judged(checked, tries)? {
                Next::Take => {
                    self.settings.extend(settings);
                    return Ok(());
                }
                Next::Again => {}
                Next::Leave => {
                    self.settings.push(setting("agents.defaults.model", ECHO_MODEL));
                    return Ok(());
                }
            }
        }
    }

    fn base_url(&mut self, provider: &str) -> Result<Option<String>, Failure> {
        let there = self.found.config.models.providers.get(provider).is_some_and(|p| !p.base_url.is_empty());
        match (&self.args.base_url, self.ask.as_mut()) {
            (Some(url), _) => Ok(Some(url.clone())),
            (None, _) if there || providers::is_known(provider) => Ok(None),
            (None, Some(ask)) => Ok(Some(ask.input("Its address (https://HOST/v1)", "")?)),
            (None, None) => Err(Failure::Usage(format!(
                "--provider {provider}: expected one of {}, or skip; another one needs --base-url https://HOST/v1",
                providers::all().join(", ")
            ))),
        }
    }

    fn model_settings(
        &mut self,
        provider: &str,
        base: Option<&String>,
        key: Option<String>,
    ) -> Result<Vec<Setting>, Failure> {
        let entry = Path::default().key("models").key("providers").key(provider);
        let mut settings = vec![];
        settings.extend(base.map(|url| Setting { path: entry.key("baseUrl"), value: url.as_str().into() }));
        // On this machine, or of unknown kind: it may do without.
        let variables = providers::variables(provider);
        let in_environment = variables.iter().find(|name| self.session.env.get(name).is_some());
        let has_key = self.found.has(&entry.key("apiKey"));
        let key = match (key, self.ask.as_mut()) {
            (Some(key), _) => Some(key),
            (None, _) if has_key => None,
            (None, Some(ask)) if !variables.is_empty() || base.is_some() => {
                let hint = in_environment.map_or("Enter: none".to_owned(), |name| format!("Enter: the one in {name}"));
                Some(ask.secret(&format!("The key of {provider} ({hint})"))?).filter(|key| !key.is_empty())
            }
            (None, _) => None,
        };
        if key.is_none()
            && !has_key
            && let Some(name) = in_environment
        {
            let note = format!(
                "the key of {provider} is read from {name}: a gateway that is started elsewhere needs it there"
            );
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        settings.extend(key.map(|key| Setting { path: entry.key("apiKey"), value: key.into() }));
        let named = self.args.model.as_deref().map(|m| m.strip_prefix(&format!("{provider}/")).unwrap_or(m).to_owned());
        let model = match (named, self.ask.as_mut()) {
            (Some(model), _) => Some(model),
            (None, Some(ask)) => {
                let suggested = providers::suggested(provider).unwrap_or_default();
                Some(ask.input(&format!("Which model of {provider}?"), suggested)?).filter(|model| !model.is_empty())
            }
            (None, None) => providers::suggested(provider).map(str::to_owned),
        };
        let Some(model) = model else {
            return Err(Failure::Usage(format!("--provider {provider} needs --model NAME: it has none for everybody")));
        };
        settings.push(setting("agents.defaults.model", format!("{provider}/{model}")));
        Ok(settings)
    }

    async fn channels(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let mut given = vec![];
        for (id, text, file) in args.channel_tokens() {
            given.extend(secrets::given(text, file.map(|f| &**f), &format!("--{id}-token"))?.map(|token| (id, token)));
        }
        for factory in &self.found.channels_left {
            let Some(path) = factory.credential else { continue };
            let mut token = given.iter().find(|(id, _)| *id == factory.id).map(|(_, token)| token.clone());
            let mut tries = 0;
            loop {
                let typed = match (token.take(), self.ask.as_mut()) {
                    (Some(token), _) => token,
                    (None, Some(ask)) if !args.skip_channels => {
                        ask.secret(&format!("Token of a {} bot (Enter: not now)", factory.label))?
                    }
                    (None, _) => String::new(),
                };
                if typed.is_empty() {
                    break;
                }
                let settings = [setting(path, typed)];
                let checked = if args.skip_checks {
                    None
                } else {
                    Some(check::channel(self.session, &*self.preview(&settings)?, factory).await)
                };
                tries += 1;
                match self.judged(checked, tries)? {
                    Next::Take => {
                        self.settings.extend(settings);
                        self.notes.extend(factory.has_pairing.then(|| {
                            let (label, id, command) = (factory.label, factory.id, self.session.paths.command());
                            format!(
                                "write to the {label} bot: it answers with a code, and `{command} pairing approve {id} CODE` lets \
                                 you in; whoever is first is the owner"
                            )
                        }));
                        break;
                    }
                    Next::Again => {}
                    Next::Leave => break,
                }
            }
        }
        let left = &self.found.channels_left;
        for (id, _) in given.iter().filter(|(id, _)| left.iter().all(|factory| factory.id != *id)) {
            self.kept(&format!("channels.{id}"));
        }
        Ok(())
    }

    /// Asked once (D47): whatever is answered is written, so that it is not asked again.
    fn exec_access(&mut self) -> Result<(), Failure> {
        if self.found.has_exec_access() {
            if self.args.exec_access.is_some() {
                self.kept("tools.exec");
            }
            return Ok(());
        }
        let access = match (self.args.exec_access, self.ask.as_mut()) {
            (Some(access), _) => Some(access),
            (None, Some(ask)) => Some(ask_exec_access(&mut **ask)?),
            (None, None) => None,
        };
        self.settings.extend(access.into_iter().flat_map(exec_settings));
        Ok(())
    }

    fn service(&mut self) -> Result<(), Failure> {
        let by_flag = self.args.install_daemon || self.args.no_install_daemon;
        if let Some(ask) = self.ask.as_mut().filter(|_| !by_flag && !service::is_there(self.session)) {
            self.wants_service = ask.confirm("Shall the system start the gateway and keep it running?", true)?;
        }
        Ok(())
    }

    fn preview(&self, more: &[Setting]) -> Result<Arc<Config>, Failure> {
        let all: Vec<Setting> = self.settings.iter().chain(more).cloned().collect();
        check::preview(self.session, self.found.text.as_deref(), &all)
    }

    /// What to do with a key after its service was asked.
    fn judged(&mut self, checked: Option<Checked>, tries: usize) -> Result<Next, Failure> {
        let Some(checked) = checked else { return Ok(Next::Take) };
        let (what, refused) = (checked.what.clone(), checked.answer.clone().err());
        let next = match (refused, self.ask.as_mut()) {
            (Some(why), Some(ask)) => {
                ask.say(&format!("{what} refuses it: {why}"));
                let mut items = vec!["keep it all the same".to_owned(), "leave it out".to_owned()];
                if tries < TRIES {
                    items.insert(0, "type it again".to_owned());
                }
                match items[ask.select("And now?", &items, 0)?].split(' ').next() {
                    Some("type") => Next::Again,
                    Some("leave") => Next::Leave,
                    _ => Next::Take,
                }
            }
            (None, Some(ask)) => {
                ask.say(&format!("{what}: {}", checked.answer.as_deref().unwrap_or_default()));
                Next::Take
            }
            (_, None) => Next::Take,
        };
        if next == Next::Take {
            self.checks.push(checked);
        }
        Ok(next)
    }

    fn kept(&mut self, path: &str) {
        self.notes.push(format!("{path} was there already and was kept; `openclaw config set` changes it"));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Take,
    Again,
    Leave,
}

/// Asks what commands of agents meet.
///
/// # Errors
/// As [`Ask::select`].
pub fn ask_exec_access(ask: &mut dyn Ask) -> Result<ExecAccess, Failure> {
    let items = [
        "ask: you are asked about each that is not on your list",
        "deny: none runs",
        "open: all run without asking, with your rights",
    ];
    let chosen = ask.select("When an agent of yours wants to run a command?", &items.map(str::to_owned), 0)?;
    Ok([ExecAccess::Ask, ExecAccess::Deny, ExecAccess::Open].get(chosen).copied().unwrap_or(ExecAccess::Ask))
}

fn expanded(session: &Session, dir: &FsPath) -> std::path::PathBuf {
    dir.to_str().map_or_else(|| dir.to_owned(), |text| session.paths.expand(text))
}

fn word(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}
