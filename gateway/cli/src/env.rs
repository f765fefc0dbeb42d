//! The process environment, read once, and what follows from it: where things are, which port, which secret.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use openclaw_config::{DEFAULT_PORT, DEV_PORT, Secret};

use crate::{args::Global, failure::Failure};

/// A snapshot of the environment. Empty variables count as unset.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl std::fmt::Debug for Env {
    /// Values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Env {
    /// The real one; what is not UTF-8 is left out.
    pub fn read() -> Self {
        Self(std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect())
    }

    /// Forgets a variable, and gives what it said.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Adds variables that only this program knows.
    pub fn add(&mut self, more: Vec<(String, String)>) {
        self.0.extend(more);
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// What a program with a window has to be told.
    pub fn display(&self) -> Vec<(String, String)> {
        const NAMES: [&str; 5] =
            ["DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];
        NAMES.iter().filter_map(|name| Some(((*name).to_owned(), self.get(name)?.to_owned()))).collect()
    }

    /// True for `1`, `true`, `yes`, `on`.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"))
    }

    /// A variable that holds a port.
    ///
    /// # Errors
    /// Config: it holds something else.
    pub fn port(&self, name: &str) -> Result<Option<u16>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let port = text.trim().parse().ok().filter(|port| *port > 0);
        let wrong = || Failure::Config(format!("{name}: expected a port from 1 to 65535, found {text:?}"));
        Ok(Some(port.ok_or_else(wrong)?))
    }

    /// The values of all variables whose names say that they are secret.
    pub fn secrets(&self) -> Vec<String> {
        // A working directory is no password.
        let is_secret = |name: &str| !name.ends_with("PWD") && openclaw_config::is_secret_name(name);
        self.0.iter().filter(|(name, _)| is_secret(name)).map(|(_, value)| value.clone()).collect()
    }

    /// A secret variable.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.get(name).map(Secret::new)
    }
}

#[cfg(test)]
impl Env {
    /// These and no others.
    pub fn of(vars: &[(&str, &str)]) -> Self {
        Self(vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }
}

/// The shared token of the gateway.
pub const TOKEN: &str = "OPENCLAW_GATEWAY_TOKEN";
/// The shared password of the gateway.
pub const PASSWORD: &str = "OPENCLAW_GATEWAY_PASSWORD";
/// Where clients find the gateway.
pub const URL: &str = "OPENCLAW_GATEWAY_URL";
/// The gateway's port.
pub const PORT: &str = "OPENCLAW_GATEWAY_PORT";

/// Where things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `--profile`, `--dev` or OPENCLAW_PROFILE; `None` is the default profile.
    pub profile: Option<String>,
    /// The person's home directory.
    pub home: PathBuf,
    /// OPENCLAW_STATE_DIR, else `~/.openclaw[-PROFILE]`.
    pub state_dir: PathBuf,
    /// OPENCLAW_CONFIG_PATH, else `openclaw.json` in the state directory.
    pub config: PathBuf,
}

impl Paths {
    /// Follows flags, then variables, then defaults.
    ///
    /// # Errors
    /// Usage: `--dev` together with `--profile`, no home directory.
    pub fn resolve(global: &Global, env: &Env) -> Result<Self, Failure> {
        if global.dev && global.profile.is_some() {
            return Err(Failure::Usage(
                "--dev is the profile \"dev\"; it cannot be combined with --profile".to_owned(),
            ));
        }
        let home = env.get("HOME").map(PathBuf::from).ok_or_else(|| {
            Failure::Usage("HOME is not set; set it, or OPENCLAW_STATE_DIR and OPENCLAW_CONFIG_PATH".to_owned())
        })?;
        let flag = if global.dev { Some("dev") } else { global.profile.as_deref() };
        let profile = flag.or(env.get("OPENCLAW_PROFILE")).filter(|p| *p != "default").map(str::to_owned);
        if let Some(bad) =
            profile.as_ref().filter(|p| !p.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)))
        {
            return Err(Failure::Usage(format!("OPENCLAW_PROFILE: expected letters, digits, _ and -, found {bad:?}")));
        }
        let suffix = profile.as_ref().map_or(String::new(), |p| format!("-{p}"));
        let state_dir = env
            .get("OPENCLAW_STATE_DIR")
            .map_or_else(|| home.join(format!(".openclaw{suffix}")), |dir| expand_home(dir, &home));
        let config =
            env.get("OPENCLAW_CONFIG_PATH").map_or_else(|| default_config(&state_dir), |file| expand_home(file, &home));
        Ok(Self { profile, home, state_dir, config })
    }

    /// True under `--dev`.
    pub fn is_dev(&self) -> bool {
        self.profile.as_deref() == Some("dev")
    }

    /// Where agents work unless told otherwise: `~/.openclaw/workspace[-PROFILE]`.
    pub fn default_workspace(&self) -> PathBuf {
        let suffix = self.profile.as_ref().map_or(String::new(), |p| format!("-{p}"));
        self.home.join(".openclaw").join(format!("workspace{suffix}"))
    }

    /// How a person calls this profile's commands: `openclaw --dev`.
    pub fn command(&self) -> String {
        match self.profile.as_deref() {
            None => "openclaw".to_owned(),
            Some("dev") => "openclaw --dev".to_owned(),
            Some(name) => format!("openclaw --profile {name}"),
        }
    }

    /// The gateway's port and what said so: the flag, OPENCLAW_GATEWAY_PORT, the file, the profile's default.
    ///
    /// # Errors
    /// Config: the variable is no port.
    pub fn port(&self, flag: Option<u16>, env: &Env, file: Option<u16>) -> Result<(u16, PortSource), Failure> {
        if let Some(port) = flag {
            return Ok((port, PortSource::Flag));
        }
        if let Some(port) = env.port(PORT)? {
            return Ok((port, PortSource::Environment));
        }
        let default = if self.is_dev() { DEV_PORT } else { DEFAULT_PORT };
        Ok(file.map_or((default, PortSource::Default), |port| (port, PortSource::File)))
    }

    /// `~` and `~/...` as the home directory; relative paths from the current directory.
    pub fn expand(&self, path: &str) -> PathBuf {
        expand_home(path, &self.home)
    }
}

/// `openclaw.json`, or the file that an earlier version has left, while there is no other.
fn default_config(state_dir: &Path) -> PathBuf {
    let names = ["openclaw.json", "clawdbot.json", "moltbot.json"];
    let found = names.iter().map(|name| state_dir.join(name)).find(|file| file.exists());
    found.unwrap_or_else(|| state_dir.join("openclaw.json"))
}

/// What decided the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortSource {
    /// `--port`
    Flag,
    /// OPENCLAW_GATEWAY_PORT
    Environment,
    /// `gateway.port`
    File,
    /// 18789, or 19001 for `--dev`
    Default,
}

impl PortSource {
    /// For people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "env",
            Self::File => "config",
            Self::Default => "default",
        }
    }
}

fn expand_home(path: &str, home: &Path) -> PathBuf {
    let path = match path.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => PathBuf::from(path),
    };
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(dev: bool, profile: Option<&str>) -> Global {
        Global { dev, profile: profile.map(str::to_owned), ..Global::default() }
    }

    #[test]
    fn the_dev_profile_is_isolated() {
        let env = Env::of(&[("HOME", "/h")]);
        let p = Paths::resolve(&global(true, None), &env).unwrap();
        assert_eq!(p.state_dir, Path::new("/h/.openclaw-dev"));
        assert_eq!(p.config, Path::new("/h/.openclaw-dev/openclaw.json"));
        assert_eq!(p.default_workspace(), Path::new("/h/.openclaw/workspace-dev"));
        assert_eq!(p.port(None, &env, None).unwrap(), (19001, PortSource::Default));
        assert_eq!(p.command(), "openclaw --dev");
        let p = Paths::resolve(&global(false, None), &env).unwrap();
        assert_eq!(p.config, Path::new("/h/.openclaw/openclaw.json"));
        assert_eq!(p.default_workspace(), Path::new("/h/.openclaw/workspace"));
        let p = Paths::resolve(&global(false, Some("rescue")), &env).unwrap();
        assert_eq!(p.state_dir, Path::new("/h/.openclaw-rescue"));
    }

    #[test]
    fn variables_beat_the_profile() {
        let env = Env::of(&[("HOME", "/h"), ("OPENCLAW_STATE_DIR", "/x"), ("OPENCLAW_PROFILE", "p")]);
        let p = Paths::resolve(&global(true, None), &env).unwrap();
        assert_eq!((p.state_dir.as_path(), p.config.as_path()), (Path::new("/x"), Path::new("/x/openclaw.json")));
        assert!(p.is_dev());
        let env = Env::of(&[("HOME", "/h"), ("OPENCLAW_CONFIG_PATH", "~/a.json"), ("OPENCLAW_PROFILE", "p")]);
        let p = Paths::resolve(&global(false, None), &env).unwrap();
        assert_eq!((p.state_dir.as_path(), p.config.as_path()), (Path::new("/h/.openclaw-p"), Path::new("/h/a.json")));
        let env = Env::of(&[("HOME", "/h"), ("OPENCLAW_PROFILE", "../p")]);
        assert_eq!(Paths::resolve(&global(false, None), &env).unwrap_err().code(), 2);
    }

    #[test]
    fn port_precedence_is_flag_env_file_default() {
        let env = Env::of(&[("HOME", "/h"), (PORT, "21361")]);
        let none = Env::of(&[("HOME", "/h")]);
        let p = Paths::resolve(&global(false, None), &env).unwrap();
        let port = |flag, env, file| p.port(flag, env, file).unwrap().0;
        assert_eq!(port(Some(21362), &env, Some(21363)), 21362);
        assert_eq!(port(None, &env, Some(21363)), 21361);
        assert_eq!(port(None, &none, Some(21363)), 21363);
        assert_eq!(port(None, &none, None), 18789);
        for bad in ["0", "70000", "12x"] {
            assert_eq!(p.port(None, &Env::of(&[(PORT, bad)]), None).unwrap_err().code(), 78, "{bad}");
        }
    }

    #[test]
    fn d31_dev_and_profile_clash() {
        let env = Env::of(&[("HOME", "/h")]);
        assert_eq!(Paths::resolve(&global(true, Some("x")), &env).unwrap_err().code(), 2);
    }

    #[test]
    fn s17_debug_shows_no_values() {
        assert_eq!(format!("{:?}", Env::of(&[(TOKEN, "hunter2")])), "{\"OPENCLAW_GATEWAY_TOKEN\"}");
    }
}
