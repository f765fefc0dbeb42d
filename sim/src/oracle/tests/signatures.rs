use serde_json::{Value, json};

use super::{ORACLES, Story, connect_params};

/// A device answers a challenge that was made at 1,000,000 ms.
fn signs(block: Value, odd: &str) -> Story {
    let mut s = Story::new();
    s.expect.off = ORACLES.iter().map(|(name, _)| (*name).to_owned()).filter(|n| n != "refusals").collect();
    match odd {
        "local" => s.expect.local = vec!["d-1".into()],
        "missigned" => s.expect.missigned = vec!["d-1".into()],
        _ => {}
    }
    s.open("d-1/1").receive(
        "d-1/1",
        json!({ "type": "event", "event": "connect.challenge", "payload": { "nonce": "n", "ts": 1_000_000 } }),
    );
    let mut params = connect_params("d-1/1", "operator", &[]);
    params["device"] = json!({ "id": "x", "publicKey": "k", "signature": "s", "signedAt": 1_000_000, "nonce": "n" });
    for (key, value) in block.as_object().into_iter().flatten() {
        params["device"][key] = value.clone();
    }
    s.call("d-1/1", "hello", "connect", params);
    s
}

fn refused(s: &Story, reason: &str) -> Story {
    let code = if reason == "PAIRING_REQUIRED" { "NOT_PAIRED" } else { "INVALID_REQUEST" };
    s.but(|s| {
        s.refuse("d-1/1", "hello", code, reason).closed("d-1/1", Some(1008), "no");
    })
}

fn says(s: &Story) -> String {
    let verdicts = super::judge(&s.records, &s.expect);
    verdicts.into_iter().find(|v| !v.ok).map(|v| v.detail).unwrap_or_default()
}

#[test]
fn a_signature_is_taken_within_ten_minutes_with_the_nonce_of_the_challenge() {
    let let_in = |block: Value, odd: &str| {
        says(&signs(block, odd).but(|s| {
            s.hello_ok("d-1/1", 2, &["d-1"]);
        }))
    };
    let waits = |block: Value, reason: &str| says(&refused(&signs(block, ""), reason));
    assert_eq!(let_in(json!({}), ""), "");
    assert_eq!(let_in(json!({ "signedAt": 420_000 }), ""), "");
    assert!(let_in(json!({ "signedAt": 380_000 }), "").contains("hello-ok, expected DEVICE_AUTH_SIGNATURE_EXPIRED"));
    assert!(let_in(json!({ "signedAt": 1_620_000 }), "").contains("expected DEVICE_AUTH_SIGNATURE_EXPIRED"));
    assert!(let_in(json!({ "nonce": "m" }), "").contains("expected DEVICE_AUTH_NONCE_MISMATCH"));
    assert!(let_in(json!({ "nonce": null }), "").contains("expected DEVICE_AUTH_NONCE_REQUIRED"));
    assert_eq!(let_in(json!({ "nonce": null }), "local"), "");
    assert!(let_in(json!({}), "missigned").contains("expected DEVICE_AUTH_SIGNATURE_INVALID"));
    assert!(
        waits(json!({ "nonce": "m" }), "PAIRING_REQUIRED").contains("PAIRING_REQUIRED, expected DEVICE_AUTH_NONCE")
    );
    let wrong = waits(json!({ "signedAt": 1_500_000 }), "DEVICE_AUTH_SIGNATURE_EXPIRED");
    assert!(wrong.contains("a right signature is answered with DEVICE_AUTH_SIGNATURE_EXPIRED"), "{wrong}");
    assert!(waits(json!({}), "DEVICE_AUTH_SIGNATURE_INVALID").contains("a right signature"));
}
