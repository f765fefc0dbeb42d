//! `gateway --reset`: the development set-up is put aside and begun anew. Only that of `--dev` in its own place, never while a gateway
//! uses it, and nothing is lost until the next reset.
#![allow(clippy::disallowed_methods)] // the binary's own file access, before anything is opened

use std::{fs, io, path::Path};

use crate::{
    failure::Failure,
    lock::{self, StateLock},
    output,
    session::Session,
};

/// Puts `~/.openclaw-dev` and its workspace aside.
///
/// # Errors
/// Usage: not the development profile, or one that lies elsewhere. Temporary: a gateway runs on it. Runtime: the disk refuses.
pub fn run(session: &Session) -> Result<(), Failure> {
    let paths = &session.paths;
    let own = paths.home.join(".openclaw-dev");
    if !paths.is_dev() {
        return Err(Failure::Usage(
            "--reset is for the development profile only: openclaw --dev gateway --reset".to_owned(),
        ));
    }
    if paths.state_dir != own || !paths.config.starts_with(&own) {
        return Err(Failure::Usage(format!(
            "--reset: expected the development profile in {}, found {} with {}; remove by hand what lies elsewhere",
            own.display(),
            paths.state_dir.display(),
            paths.config.display()
        )));
    }
    if !own.is_dir() {
        return Ok(());
    }
    let aside = paths.home.join(".openclaw-dev.before-reset");
    let lock = StateLock::take(&own, 0)?;
    let moved = put_aside(&own, &paths.default_workspace(), &aside);
    drop(lock);
    // Its file went along.
    let _ = fs::remove_file(aside.join(lock::FILE));
    moved.map_err(|e| Failure::Runtime(format!("--reset: cannot put {} aside: {e}", own.display())))?;
    output::note(format!(
        "The development set-up was put aside; what it was is in {} until the next --reset.",
        aside.display()
    ));
    Ok(())
}

/// Renames only: what is there is there in whole or not at all.
fn put_aside(state: &Path, workspace: &Path, aside: &Path) -> io::Result<()> {
    match fs::remove_dir_all(aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::rename(state, aside)?;
    match fs::rename(workspace, aside.join("workspace-dev")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        first_file,
        tests::{session, session_with},
    };

    #[test]
    fn the_development_setup_alone_is_put_aside_and_kept_once() {
        let home = tempfile::tempdir().unwrap();
        let (dev, main) = (session(home.path(), true), session(home.path(), false));
        run(&dev).unwrap();
        first_file::write(&main, None, None).unwrap();
        for round in ["one", "two"] {
            first_file::write(&dev, None, None).unwrap();
            fs::write(home.path().join(".openclaw/workspace-dev/note"), round).unwrap();
            run(&dev).unwrap();
            assert!(
                !home.path().join(".openclaw-dev").exists() && !home.path().join(".openclaw/workspace-dev").exists()
            );
            let kept = home.path().join(".openclaw-dev.before-reset");
            assert_eq!(fs::read_to_string(kept.join("workspace-dev/note")).unwrap(), round);
            assert!(kept.join("openclaw.json").exists() && !kept.join("gateway.lock").exists());
        }
        assert!(main.paths.config.exists() && home.path().join(".openclaw/workspace").is_dir());
        assert_eq!(run(&main).unwrap_err().code(), 2);
        first_file::write(&dev, None, None).unwrap();
        let here = dev.paths.config.to_str().unwrap();
        for elsewhere in [
            &[("OPENCLAW_STATE_DIR", "/nowhere"), ("OPENCLAW_CONFIG_PATH", here)][..],
            &[("OPENCLAW_CONFIG_PATH", "/nowhere.json")],
        ] {
            assert_eq!(run(&session_with(home.path(), true, elsewhere)).unwrap_err().code(), 2, "{elsewhere:?}");
            assert!(dev.paths.config.exists());
        }
    }

    #[test]
    fn f22_a_setup_that_is_in_use_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let dev = session(home.path(), true);
        first_file::write(&dev, None, None).unwrap();
        let held = StateLock::take(&dev.paths.state_dir, 5).unwrap();
        assert_eq!(run(&dev).unwrap_err().code(), 75);
        assert!(dev.paths.config.exists());
        drop(held);
        run(&dev).unwrap();
    }
}
