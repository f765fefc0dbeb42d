use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::plan::Plan;

/// What is kept of a failed run: enough to replay it on another machine and another day.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// What happened in it.
    pub outcome: Outcome,
    /// How to see it again.
    pub replay: String,
    /// The whole plan.
    pub plan: Plan,
}

/// Where failures are written, below the build directory.
pub fn directory() -> PathBuf {
    // The runner stands in target/PROFILE/ (or was copied somewhere else).
    let exe = std::env::current_exe().ok();
    let target = exe.as_deref().and_then(|exe| exe.ancestors().nth(2)).filter(|dir| dir.ends_with("target"));
    target.unwrap_or(Path::new("target")).join("sim-failures")
}

impl Failure {
    /// Writes it as JSON and says where. `label` is the seed, and what else tells the run from others of the scenario.
    ///
    /// # Errors
    /// When it cannot be written.
    #[allow(clippy::disallowed_methods)] // the runner's own files
    pub fn write(label: &str, outcome: &Outcome, plan: &Plan) -> std::io::Result<PathBuf> {
        let directory = directory();
        std::fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{}-{label}.json", plan.scenario));
        let replay = format!("sim replay {}", path.display());
        let failure = Self { outcome: outcome.clone(), replay, plan: plan.clone() };
        std::fs::write(&path, serde_json::to_string_pretty(&failure)? + "\n")?;
        Ok(path)
    }
}
