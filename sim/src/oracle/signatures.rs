//! Signatures of devices (protocol-core.md section 7): signed within ten minutes of the gateway's clock, with the nonce of the
//! challenge (on the gateway's own machine an old client may do without), and for what is asked.

use serde_json::Value;

use super::{Expect, conn::Conn, device_blocks::challenges, facts::Facts, findings::Findings};

/// The clocks may differ by this much, in milliseconds; and a little, for what was on its way.
const SKEW: u64 = 600_000;
const SLACK: u64 = 15_000;

const EXPIRED: &str = "DEVICE_AUTH_SIGNATURE_EXPIRED";
const REQUIRED: &str = "DEVICE_AUTH_NONCE_REQUIRED";
const MISMATCH: &str = "DEVICE_AUTH_NONCE_MISMATCH";
const INVALID: &str = "DEVICE_AUTH_SIGNATURE_INVALID";

/// Why a block must be refused; `Err`: it lies at the edge of time.
fn wrong(c: &Conn, block: &Value, challenge: &Value, expect: &Expect) -> Result<Option<&'static str>, ()> {
    let (now, signed) = (challenge["ts"].as_u64().ok_or(())?, block["signedAt"].as_u64().ok_or(())?);
    let apart = now.abs_diff(signed);
    let nonce = block["nonce"].as_str().map(str::trim).filter(|n| !n.is_empty());
    Ok(match nonce {
        _ if apart > SKEW + SLACK => Some(EXPIRED),
        _ if apart + SLACK > SKEW => return Err(()),
        None if !expect.local.iter().any(|l| l == c.client) => Some(REQUIRED),
        Some(nonce) if challenge["nonce"] != nonce => Some(MISMATCH),
        _ => Some(INVALID).filter(|_| expect.missigned.iter().any(|m| m == c.client)),
    })
}

/// Checks every connection whose first frame has a device block.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    if facts.faults.iter().any(|f| f.kind == "clock_jump") {
        return;
    }
    let challenges = challenges(facts);
    for c in conns.iter().filter(|c| !c.is_visit()) {
        let Some((sent, frame)) = c.opening else { continue };
        let block = &frame["params"]["device"];
        let Some((asked, challenge)) = challenges.get(c.name).filter(|_| block.is_object()) else { continue };
        // What is signed late is judged late.
        if sent.t > asked + 1_000_000 || c.is_disturbed(facts, *asked, sent.t) {
            continue;
        }
        let Ok(wanted) = wrong(c, block, challenge, expect) else { continue };
        let reason = c.refusal.map(|a| a.reason().to_owned());
        let about_it = reason.as_deref().is_some_and(|r| r.starts_with("DEVICE_AUTH_"));
        // Who waits for a person was believed to be who he is.
        let believed = c.hello.is_some() || reason.as_deref() == Some("PAIRING_REQUIRED");
        let mark = c.refusal.map(|a| a.at).or(c.hello.as_ref().map(|h| h.at)).unwrap_or(sent);
        let told = reason.as_deref().unwrap_or("hello-ok");
        match wanted {
            Some(why) if believed || about_it && reason.as_deref() != Some(why) => {
                out.broken("refusals", mark.i, format!("{}: answered with {told}, expected {why}", c.name));
            }
            None if about_it => {
                out.broken("refusals", mark.i, format!("{}: a right signature is answered with {told}", c.name));
            }
            _ => {}
        }
    }
}
