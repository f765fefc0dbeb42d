//! Everything that a command started, so that it ends with it: also what left the command's group and session.
//!
//! A program that starts another in a session of its own (`setsid`) is out of reach of a signal to the group. What
//! belongs to a command is found in /proc: its group, its session, its descendants, and whoever carries the mark that the
//! command got in its environment. Where there is no /proc the group alone is ended.

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Carries the mark.
pub const MARK: &str = "EXEC_INVOCATION_ID";
/// Each look finds what was started during the one before; a command that starts faster than this is not waited for.
const LOOKS: usize = 32;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A mark that no other command has, of this process or of one before it.
pub fn mark() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}-{}", std::process::id(), since.as_nanos(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A command that runs, with all that it starts. What is left of it ends when this is dropped.
pub struct Family {
    /// The first process; none after it was waited for: its number may soon name somebody else.
    leader: Option<Pid>,
    mark: String,
    /// Nothing older than the first process belongs to it; in the kernel's ticks.
    since: u64,
}

impl Family {
    /// Of a child that was started in a group of its own, with `mark` in its environment.
    pub fn of(child: &tokio::process::Child, mark: String) -> Self {
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let since = leader.and_then(|pid| Process::read(pid.as_raw_pid())).map_or(0, |p| p.started);
        Self { leader, mark, since }
    }

    /// The first process ended by itself and was waited for: what it left behind on purpose may stay.
    pub fn ended(&mut self) {
        self.leader = None;
    }

    /// Stops all members first and ends them together: a child whose parent has ended is nobody's descendant any more.
    fn end(&self, leader: Pid) {
        let _ = kill_process_group(leader, Signal::STOP);
        let mut stopped = BTreeSet::new();
        let mut is_whole = false;
        for _ in 0..LOOKS {
            let found: Vec<i32> =
                self.members(leader.as_raw_pid()).into_iter().filter(|p| stopped.insert(*p)).collect();
            is_whole = found.is_empty();
            if is_whole {
                break;
            }
            for pid in found.into_iter().filter_map(Pid::from_raw) {
                let _ = kill_process(pid, Signal::STOP);
            }
        }
        let _ = kill_process_group(leader, Signal::KILL);
        for pid in stopped.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        if !is_whole {
            tracing::warn!("a command went on starting programs while it was being ended; some may be left");
        }
    }

    /// Who belongs to it now.
    fn members(&self, leader: i32) -> BTreeSet<i32> {
        let all = Process::all();
        let marked = format!("{MARK}={}", self.mark);
        let own = |p: &Process| p.pid == leader || p.group == leader || p.session == leader || carries(p.pid, &marked);
        let younger = || all.iter().filter(|p| p.started >= self.since);
        let mut members: BTreeSet<i32> = younger().filter(|p| own(p)).map(|p| p.pid).collect();
        loop {
            let before = members.len();
            members.extend(younger().filter(|p| members.contains(&p.parent)).map(|p| p.pid).collect::<Vec<_>>());
            if members.len() == before {
                return members;
            }
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            self.end(leader);
        }
    }
}

/// True when the process has `entry` in its environment. That of other users is not readable, and not ours.
fn carries(pid: i32, entry: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|one| one == entry.as_bytes())
}

/// A row of /proc.
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    started: u64,
}

impl Process {
    fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|e| Self::read(e.file_name().to_str()?.parse().ok()?)).collect()
    }

    fn read(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, brackets too; the numbers come after the last one.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<i32>().ok();
        let (parent, group, session) = (number(1)?, number(2)?, number(3)?);
        Some(Self { pid, parent, group, session, started: fields.get(19)?.parse().ok()? })
    }
}
