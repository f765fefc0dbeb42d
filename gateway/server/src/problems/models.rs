//! Models that agents are to ask and that cannot be asked (D37).

use openclaw_config::{Config, unusable_models};

use super::{Problem, problem};

/// `model.unusable`, one for each.
pub fn find(config: &Config) -> Vec<Problem> {
    let of = |model: openclaw_config::UnusableModel| {
        let fix = match model.fix.as_str() {
            "" => "add it, or name another model in agents.defaults.model".to_owned(),
            fix => fix.to_owned(),
        };
        problem("model.unusable", &model.model, model.text(), fix)
    };
    unusable_models(config).into_iter().map(of).collect()
}
