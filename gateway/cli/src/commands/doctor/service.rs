//! The gateway as a service of this machine: whether its file is as an installation of today would write it, whether it stays up, and
//! what earlier programs left. `--fix` gives the file the values of an installation and leaves what a person added.

use openclaw_service::{
    Definition, Finding, Installation, Linger, Other, Runtime, Service, Status, audit, linger, others, repair,
};

use super::check::Check;
use crate::{
    commands::service::{
        as_installed::wanted_as_installed,
        machine::{self, Which},
    },
    session::Session,
};

const FILE: &str = "service";
const DROP_INS: &str = "service.drop-ins";
const RUNTIME: &str = "service.runtime";
const LEGACY: &str = "service.legacy";
const OTHERS: &str = "service.others";
const LINGER: &str = "service.linger";

/// `service`, `service.drop-ins`, `service.runtime`, `service.legacy`, `service.others`, `service.linger`.
pub async fn checks(session: &Session, which: &Which, fix: bool) -> Vec<Check> {
    let host = machine::host(session);
    let found = which.kind(session).and_then(|kind| machine::service(session, &host, kind));
    let service = match found {
        Ok(service) => service,
        Err(failure) => return vec![Check::error(FILE, failure.to_string(), "unset or correct OPENCLAW_SYSTEMD_UNIT")],
    };
    let mut checks = legacy(session, &service, fix).await;
    match service.installation() {
        Err(error) => checks.push(Check::error(FILE, error.to_string(), "see who may read it")),
        Ok(None) => {
            let text = format!("no service is installed (`{} gateway install` makes one)", session.paths.command());
            checks.push(Check::note(FILE, text));
        }
        Ok(Some(there)) => {
            checks.extend(file(session, &service, &there, fix).await);
            checks.extend(runtime(session, &service).await);
        }
    }
    checks
}

/// The file against an installation of today.
async fn file(session: &Session, service: &Service<'_>, there: &Installation, fix: bool) -> Vec<Check> {
    let name = format!("{} ({})", service.label(), there.path.display());
    let wanted = match wanted_as_installed(session, service.kind(), &there.parsed) {
        Ok(wanted) => wanted.definition,
        Err(failure) => {
            let text = format!("{name} could not start: {failure}");
            return vec![Check::error(FILE, text, "correct the configuration; `openclaw config validate` checks it")];
        }
    };
    let text = match service.text() {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => return vec![Check::error(FILE, error.to_string(), "see who may read it")],
    };
    let in_file = audit(service.kind(), &service.kind().parse(&text), &wanted);
    let mut checks: Vec<Check> =
        drop_ins(there, &in_file, &audit(service.kind(), &there.parsed, &wanted)).into_iter().collect();
    let mut found = told(&in_file);
    if there.is_open(service.kind()) {
        found.push(format!("others can read the file ({:04o}), and the token in it", there.mode));
    }
    let found_text = found.join("\n");
    checks.push(if found.is_empty() {
        Check::ok(FILE, format!("{name} is as an installation of today would write it"))
    } else if !fix {
        let text = format!("{name} is not as an installation of today would write it:\n{found_text}");
        let fix = format!(
            "`{} doctor --repair` puts these right and leaves what you added; `gateway install --force` writes it anew",
            session.paths.command()
        );
        Check::warn(FILE, text, fix)
    } else {
        match repaired(service, &text, &wanted).await {
            Ok(done) => Check::fixed(FILE, format!("{name}:\n{found_text}\n{done}")),
            Err(why) => {
                let text = format!("{name} cannot be put right: {why}; it has\n{found_text}");
                Check::error(FILE, text, format!("`{} gateway install --force`", session.paths.command()))
            }
        }
    });
    checks
}

/// What files beside the unit say otherwise: somebody wants it so.
fn drop_ins(there: &Installation, in_file: &[Finding], all: &[Finding]) -> Option<Check> {
    let more: Vec<Finding> = all.iter().filter(|finding| !in_file.contains(finding)).cloned().collect();
    let names: Vec<String> = there.drop_ins.iter().map(|path| path.display().to_string()).collect();
    let text = || format!("files beside the unit say otherwise ({}):\n{}", names.join(", "), told(&more).join("\n"));
    (!more.is_empty()).then(|| Check::note(DROP_INS, text()))
}

fn told(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect()
}

/// Writes the file anew; says what stays, what went, and what is to do.
async fn repaired(service: &Service<'_>, text: &str, wanted: &Definition) -> Result<String, String> {
    let repaired = repair(service.kind(), text, wanted).map_err(|e| e.to_string())?;
    service.replace(&repaired.text).await.map_err(|e| e.to_string())?;
    let mut done = vec!["these are the values of an installation again".to_owned()];
    if !repaired.kept.is_empty() {
        done.push(format!("what you added stays: {}", repaired.kept.join(", ")));
    }
    if !repaired.dropped.is_empty() {
        done.push(format!("removed, because the service would not be kept running: {}", repaired.dropped.join(", ")));
    }
    if service.kind().platform() == "systemd" {
        done.push(
            "the gateway goes on as it is; what its process is started with counts from its next start".to_owned(),
        );
    }
    let kept = service.host().places.state_dir.join("legacy-services");
    done.push(format!("the file as it was is in {}", kept.display()));
    Ok(done.join("\n"))
}

/// Whether it stays up, and after a logout.
async fn runtime(session: &Session, service: &Service<'_>) -> Vec<Check> {
    let state = service.state().await;
    let command = session.paths.command();
    let Runtime { status, pid, last_exit_status, restarts, detail, .. } = state.runtime;
    let mut checks = vec![match status {
        Status::Running => {
            Check::ok(RUNTIME, format!("it runs{}", pid.map_or(String::new(), |pid| format!(" (pid {pid})"))))
        }
        Status::Starting | Status::Stopping => Check::note(RUNTIME, "it is about to start or to stop"),
        Status::Restarting | Status::Failed => {
            let code = last_exit_status.map_or(String::new(), |code| format!(", its last exit code is {code}"));
            let again =
                restarts.filter(|n| *n > 0).map_or(String::new(), |n| format!(", it was started again {n} times"));
            let text = format!("it does not stay up{again}{code}");
            Check::error(RUNTIME, text, format!("`{command} gateway status` shows its last error"))
        }
        Status::Stopped => {
            let text = format!("it does not run, and did not end with an error (`{command} gateway start` starts it)");
            Check::note(RUNTIME, text)
        }
        Status::Unknown => {
            let why = detail.unwrap_or_else(|| "no reason given".to_owned());
            Check::note(RUNTIME, format!("the supervisor does not say what it does: {why}"))
        }
    }];
    if !state.loaded && status != Status::Unknown {
        let fix = format!("`{command} gateway install --force`");
        checks.push(Check::warn(RUNTIME, "it is not started with the machine or the login", fix));
    }
    if service.kind() == openclaw_service::Kind::SystemdUser && linger(service.host()).await == Linger::Off {
        let user = &service.host().user;
        let text = format!("it ends when {user} logs out; `sudo loginctl enable-linger {user}` lets it go on");
        checks.push(Check::note(LINGER, text));
    }
    checks
}

/// Services of earlier programs for this profile, which would run a second gateway; and others that look like one.
async fn legacy(session: &Session, service: &Service<'_>, fix: bool) -> Vec<Check> {
    let command = session.paths.command();
    let mut checks = vec![];
    let there = service.legacy();
    if !there.is_empty() {
        let names = there.join(", ");
        let kept = service.host().places.state_dir.join("legacy-services");
        checks.push(if fix {
            match service.remove_all_legacy().await {
                Ok(removed) => {
                    let text =
                        format!("ended and removed: {}; the files are in {}", removed.join(", "), kept.display());
                    Check::fixed(LEGACY, text)
                }
                Err(error) => Check::error(LEGACY, format!("{names} cannot be removed: {error}"), "remove it by hand"),
            }
        } else {
            let text =
                format!("an earlier program's service is there: {names}; two gateways would answer the same people");
            let fix =
                format!("`{command} doctor --repair` ends and removes it (its file is kept in {})", kept.display());
            Check::warn(LEGACY, text, fix)
        });
    }
    let more: Vec<Other> =
        others(service, false).await.into_iter().filter(|other| !there.contains(&other.label)).collect();
    if !more.is_empty() {
        let names: Vec<String> = more.iter().map(|other| format!("{} ({})", other.label, other.detail)).collect();
        let text = format!("other services seem to run a gateway: {}", names.join(", "));
        checks.push(Check::warn(OTHERS, text, "one gateway is enough for most; stop and remove what you do not need"));
    }
    checks
}
