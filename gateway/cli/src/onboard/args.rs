//! Flags of `onboard` and of `setup`. Their names are those that scripts for this family of programs use.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::args::{Auth, BindMode};

/// `onboard`, and `setup --wizard`
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct OnboardArgs {
    /// Ask nothing: what no flag says gets its default, and no service is installed unless --install-daemon says so (needs --accept-risk)
    #[arg(long)]
    pub non_interactive: bool,
    /// You know that an agent with tools acts on this machine with your rights
    #[arg(long)]
    pub accept_risk: bool,
    /// Where the gateway runs: local (here) or remote (elsewhere; this machine only asks it)
    #[arg(long)]
    pub mode: Option<Mode>,
    /// How much is asked: quickstart (what has no good default) or advanced (also port, address and directory)
    #[arg(long)]
    pub flow: Option<Flow>,
    /// Directory in which agents work
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Port of the gateway (default: 18789; a profile gets one of its own)
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub gateway_port: Option<u16>,
    /// Where it listens
    #[arg(long, value_name = "MODE")]
    pub gateway_bind: Option<BindMode>,
    /// What clients must show
    #[arg(long, value_name = "MODE")]
    pub gateway_auth: Option<Auth>,
    /// This token instead of a fresh one; better in a file, because other users see command lines
    #[arg(long, value_name = "TOKEN")]
    pub gateway_token: Option<String>,
    /// The token in this file (- is standard input)
    #[arg(long, value_name = "PATH", conflicts_with = "gateway_token")]
    pub gateway_token_file: Option<PathBuf>,
    /// This password (with --gateway-auth password); better in a file
    #[arg(long, value_name = "PASSWORD")]
    pub gateway_password: Option<String>,
    /// The password in this file (- is standard input)
    #[arg(long, value_name = "PATH", conflicts_with = "gateway_password")]
    pub gateway_password_file: Option<PathBuf>,
    /// With --mode remote: the gateway's address, ws:// or wss://
    #[arg(long, value_name = "URL")]
    pub remote_url: Option<String>,
    /// With --mode remote: its token; better in a file
    #[arg(long, value_name = "TOKEN")]
    pub remote_token: Option<String>,
    /// With --mode remote: its token is in this file (- is standard input)
    #[arg(long, value_name = "PATH", conflicts_with = "remote_token")]
    pub remote_token_file: Option<PathBuf>,
    /// Model provider: anthropic, openai, openrouter, google, groq, mistral, xai, deepseek, moonshot, ollama, lmstudio, another
    /// one with --base-url, or skip (the built-in model, which repeats what it is told)
    #[arg(long, visible_alias = "provider", value_name = "NAME")]
    pub auth_choice: Option<String>,
    /// Address of the provider: https://HOST/v1
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// Its key; better in a file, because other users see command lines
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Its key is in this file (- is standard input)
    #[arg(long, value_name = "PATH", conflicts_with = "api_key")]
    pub api_key_file: Option<PathBuf>,
    /// The model to ask, as the provider names it
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Token of a Telegram bot, from @BotFather; better in a file
    #[arg(long, value_name = "TOKEN")]
    pub telegram_token: Option<String>,
    /// The bot's token is in this file (- is standard input)
    #[arg(long, value_name = "PATH", conflicts_with = "telegram_token")]
    pub telegram_token_file: Option<PathBuf>,
    /// Commands that agents want to run: ask you (default), deny, or open (run everything without asking)
    #[arg(long, value_name = "MODE")]
    pub exec_access: Option<ExecAccess>,
    /// Have the system start the gateway and keep it running
    #[arg(long)]
    pub install_daemon: bool,
    /// Do not
    #[arg(long, visible_alias = "skip-daemon", conflicts_with = "install_daemon")]
    pub no_install_daemon: bool,
    /// Do not ask about messaging channels
    #[arg(long)]
    pub skip_channels: bool,
    /// Write keys and tokens without asking their services whether they are right
    #[arg(long)]
    pub skip_checks: bool,
    /// Do not ask the gateway for its health at the end
    #[arg(long)]
    pub skip_health: bool,
    #[arg(long, hide = true, conflicts_with = "api_key")]
    pub anthropic_api_key: Option<String>,
    #[arg(long, hide = true, conflicts_with = "api_key")]
    pub openai_api_key: Option<String>,
    #[arg(long, hide = true, conflicts_with = "api_key")]
    pub openrouter_api_key: Option<String>,
    #[arg(long, hide = true, conflicts_with = "api_key")]
    pub gemini_api_key: Option<String>,
    #[arg(long, hide = true, conflicts_with = "api_key")]
    pub moonshot_api_key: Option<String>,
    // Parts that this program does not have; scripts leave them out.
    #[arg(long, hide = true)]
    pub skip_skills: bool,
    #[arg(long, hide = true)]
    pub skip_ui: bool,
}

/// `setup`
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Ask for everything, as `openclaw onboard` does; so does any flag that only that one has
    #[arg(long)]
    pub wizard: bool,
    /// Those of `onboard`.
    #[command(flatten)]
    pub onboard: OnboardArgs,
}

/// Where the gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Here.
    Local,
    /// Elsewhere.
    Remote,
}

/// How much is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Flow {
    /// What has no good default.
    #[default]
    Quickstart,
    /// All of it.
    #[value(alias = "manual")]
    Advanced,
}

/// What agents' commands meet (D47).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExecAccess {
    /// Ask a person about each that is not on the list.
    Ask,
    /// None runs.
    Deny,
    /// All run.
    Open,
}

impl OnboardArgs {
    /// Tokens of channels: the channel, and the token or the file that has it.
    pub fn channel_tokens(&self) -> [(&'static str, Option<&String>, Option<&PathBuf>); 1] {
        [("telegram", self.telegram_token.as_ref(), self.telegram_token_file.as_ref())]
    }

    /// A provider and its key, where the flag of that provider was used.
    pub fn named_key(&self) -> Option<(&'static str, &String)> {
        let named = [
            ("anthropic", &self.anthropic_api_key),
            ("openai", &self.openai_api_key),
            ("openrouter", &self.openrouter_api_key),
            ("google", &self.gemini_api_key),
            ("moonshot", &self.moonshot_api_key),
        ];
        named.into_iter().find_map(|(provider, key)| Some((provider, key.as_ref()?)))
    }

    /// True when a secret stands on the command line itself.
    pub fn has_secret_in_sight(&self) -> bool {
        let secrets =
            [&self.gateway_token, &self.gateway_password, &self.remote_token, &self.api_key, &self.telegram_token];
        secrets.into_iter().any(Option::is_some) || self.named_key().is_some()
    }

    /// True when a flag says what only the wizard does.
    pub fn is_more_than_setup(&self) -> bool {
        let setup = Self { workspace: self.workspace.clone(), exec_access: self.exec_access, ..Self::default() };
        *self != setup
    }
}
