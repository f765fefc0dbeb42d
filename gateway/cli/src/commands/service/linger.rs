//! Whether the gateway goes on after the logout.

use std::io::IsTerminal as _;

use openclaw_service::{Host, Linger, enable_linger, linger};

use crate::{output, session::Session};

/// Longest answer that is read.
const MAX_ANSWER: usize = 100;

/// Sees to it, or says what to do: `wanted` switches it on, a person at a terminal is asked. Gives warnings and hints.
pub async fn tell(session: &Session, host: &Host<'_>, wanted: bool) -> (Vec<String>, Vec<String>) {
    let by_hand = format!("sudo loginctl enable-linger {}", host.user);
    match linger(host).await {
        Linger::On => (vec![], vec![]),
        // No logins here, as in containers: nothing would end it.
        Linger::Unknown(_) if !wanted => (vec![], vec![]),
        Linger::Off | Linger::Unknown(_) => {
            let ends =
                format!("the gateway ends when {} logs out, and starts at the next login (Linger=no)", host.user);
            if !wanted && !agreed(session, &ends) {
                let hint = format!(
                    "Let it run without a login: {by_hand} (or {} gateway install --linger)",
                    session.paths.command()
                );
                return (vec![ends], vec![hint]);
            }
            match enable_linger(host).await {
                Ok(()) => {
                    (vec![], vec![format!("Lingering is on for {}: the gateway runs without a login.", host.user)])
                }
                Err(error) => (vec![format!("{ends}; {error}")], vec![format!("Switch it on by hand: {by_hand}")]),
            }
        }
    }
}

/// What a person at a terminal says; nobody is asked elsewhere.
fn agreed(session: &Session, ends: &str) -> bool {
    let stdin = std::io::stdin();
    if session.out.json || !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    output::note(format!("{ends}.\nLet it run without a login? [Y/n]"));
    let mut answer = String::new();
    let read = std::io::Read::take(stdin.lock(), MAX_ANSWER as u64);
    let is_read = std::io::BufRead::read_line(&mut std::io::BufReader::new(read), &mut answer).is_ok_and(|n| n > 0);
    is_read && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes")
}
