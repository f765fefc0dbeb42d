//! The file as a start reads it.

use crate::{
    Loaded, Outside, Problem, check, credential, include, model_keys,
    normal::normalise,
    path::Path,
    secret_ref,
    text::read_last,
    tolerance::tolerate,
    typed::{markers, typed},
    vars::Variables,
};

/// Reads the file's `text` as a start does: with what it includes, with secrets that stand elsewhere, and tolerantly (D36, D37). What
/// is not understood is left out, or read as its strictest meaning, and told in the warnings.
///
/// # Errors
/// What stops a start, each with its path; for a syntax error one problem with line and column.
pub fn read(text: &str, outside: &dyn Outside) -> Result<Loaded, Vec<Problem>> {
    let (mut value, twice) = read_last(text).map_err(|p| vec![p])?;
    let mut refused = vec![];
    let mut warnings: Vec<String> =
        twice.iter().map(|key| format!("{key}: the key stands twice in one place; the last one counts")).collect();
    let files = include::resolve(&mut value, outside, &mut refused);
    normalise(&mut value, &mut warnings);
    let mut unset = vec![];
    let variable = |name: &str| outside.variable(name);
    Variables::new(&value.clone(), &variable).substitute(&mut value, &Path::default(), &mut unset);
    let unset = unset.into_iter().filter_map(|p| Some((Path::parse(&p.path).ok()?, p.message)));
    let unresolved = secret_ref::resolve(&mut value, outside);
    // A provider or a channel without its secret is out; without another value nobody knows what was meant.
    for (path, why) in unset.chain(unresolved) {
        match credential::without(&mut value, &path) {
            Some(out) => warnings.push(format!("{}; {out}", Problem::at(&path, why))),
            None => refused.push(Problem::at(&path, why)),
        }
    }
    markers(&value, &Path::default(), &mut refused);
    let (stopped, told) = tolerate(&mut value);
    // What a missing variable or a marker left behind says nothing new.
    let known: Vec<String> = refused.iter().map(|p| p.path.clone()).collect();
    refused.extend(stopped.into_iter().filter(|p| !known.contains(&p.path)));
    if !refused.is_empty() {
        return Err(refused);
    }
    let own_keys = model_keys::own_keys(&value, outside);
    let (mut secrets, of_agents) = model_keys::complete(&mut value, outside, &own_keys);
    let mut config = typed(&value)?;
    let given = model_keys::give(&mut config, &of_agents, own_keys);
    secrets.extend(given.into_iter().filter(|key| !secrets.contains(key)).collect::<Vec<_>>());
    model_keys::drop_empty_keys(&mut config);
    config.lower_ids();
    warnings.extend(told.iter().filter(|p| !known.contains(&p.path)).map(ToString::to_string));
    warnings.extend(check::warnings(&config));
    warnings.extend(model_keys::without_credential(&config));
    Ok(Loaded { config, value, warnings, files, secrets })
}
