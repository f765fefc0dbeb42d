//! A port of its own for each profile: their derived ports must not meet.
#![allow(clippy::disallowed_methods)] // a look at the profiles beside this one

use std::path::Path;

use openclaw_config::{DEFAULT_PORT, DEV_PORT, overlap, read_value};

use crate::{config_file, env, session::Session};

/// Between two ports that are tried.
const STEP: u16 = 1000;
/// Profiles looked at.
const MAX: usize = 1000;

/// A base port for a named profile whose configuration has none, so that neither its own nor its derived ports are those of
/// another profile. None for the default and the development profile, which have theirs, and where something says one already.
pub fn free_base(session: &Session, in_file: Option<u16>) -> Option<u16> {
    let paths = &session.paths;
    let is_named = paths.profile.is_some() && !paths.is_dev();
    if !is_named || in_file.is_some() || session.env.get(env::PORT).is_some() {
        return None;
    }
    let taken = taken(&paths.home, &paths.config);
    let mut bases = (1..).map_while(|n: u16| DEFAULT_PORT.checked_add(n.checked_mul(STEP)?));
    bases.find(|base| taken.iter().all(|other| !overlap(*base, *other)))
}

/// The base ports of the profiles in `home`, besides the one with this configuration.
fn taken(home: &Path, own: &Path) -> Vec<u16> {
    let entries = std::fs::read_dir(home).into_iter().flatten().flatten();
    let files = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".openclaw-"))
        .map(|entry| entry.path().join("openclaw.json"))
        .chain([home.join(".openclaw").join("openclaw.json")]);
    let ports = files.filter(|file| file != own).take(MAX).filter_map(|file| {
        let value = read_value(&config_file::read_text(&file).ok()??).ok()?;
        value["gateway"]["port"].as_u64().and_then(|port| u16::try_from(port).ok())
    });
    [DEFAULT_PORT, DEV_PORT].into_iter().chain(ports).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::Global,
        env::{Env, Paths},
        output::Output,
        tests::session,
    };

    fn named(home: &Path, profile: &str, vars: &[(&str, &str)]) -> Session {
        let vars: Vec<_> = [("HOME", home.to_str().unwrap())].into_iter().chain(vars.iter().copied()).collect();
        let env = Env::of(&vars);
        let global = Global { profile: Some(profile.to_owned()), ..Global::default() };
        let paths = Paths::resolve(&global, &env).unwrap();
        Session { env, paths, out: Output { json: true, color: false }, log_level: None }
    }

    #[test]
    fn row_070_each_profile_gets_ports_that_no_other_has() {
        let home = tempfile::tempdir().unwrap();
        let rescue = named(home.path(), "rescue", &[]);
        assert_eq!(free_base(&rescue, None), Some(19789));
        config_file::create(&rescue.paths.config, "{gateway: {port: 19789}}").unwrap();
        assert_eq!(free_base(&rescue, None), Some(19789), "its own is not in its way");
        assert_eq!(free_base(&named(home.path(), "second", &[]), None), Some(20789));
        config_file::create(&home.path().join(".openclaw/openclaw.json"), "{gateway: {port: 20700}}").unwrap();
        assert_eq!(free_base(&named(home.path(), "second", &[]), None), Some(21789), "derived ports count");
        assert_eq!(free_base(&rescue, Some(5)), None);
        assert_eq!(free_base(&named(home.path(), "p", &[(env::PORT, "5")]), None), None);
        assert_eq!(
            (free_base(&session(home.path(), true), None), free_base(&session(home.path(), false), None)),
            (None, None)
        );
    }
}
