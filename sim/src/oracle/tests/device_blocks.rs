//! A device signs blocks, on visits: `signatures` judges those of other connections, too.

use serde_json::{Value, json};

use super::{Story, connect_params};

/// The clock of the gateway at the start, as challenges tell it.
const WALL: u64 = 1_000_000_000;

impl Story {
    fn signs(&mut self, conn: &str, at: u64, block: Value, refused: Option<&str>) -> &mut Self {
        let mut params = connect_params(conn, "operator", &["operator.read"]);
        params["device"] = block;
        params["device"]["id"] = "d".into();
        let payload = json!({ "nonce": format!("nonce of {conn}"), "ts": WALL + at });
        self.at(at)
            .open(conn)
            .receive(conn, json!({ "type": "event", "event": "connect.challenge", "payload": payload }));
        self.call(conn, "hello", "connect", params).at(at + 5);
        match refused {
            None => self.hello_ok(conn, 2, &[]),
            Some(reason) => self.refuse(conn, "hello", "INVALID_REQUEST", reason).closed(conn, Some(1008), "no"),
        }
    }
}

fn block(at: u64, ahead: i64, nonce: Option<&str>) -> Value {
    let mut block =
        json!({ "signature": format!("s {at} {ahead}"), "signedAt": (WALL + at).saturating_add_signed(ahead) });
    if let Some(nonce) = nonce {
        block["nonce"] = nonce.into();
    }
    block
}

fn both(change: impl FnOnce(&mut Story)) -> (String, String) {
    let mut s = Story::new();
    s.expect.local = vec!["here-1".into()];
    change(&mut s);
    (s.verdict("refusals"), s.verdict("admitted"))
}

#[test]
fn s20_a_block_is_good_for_its_connection_and_time() {
    let of = |ahead: i64, nonce: Option<&str>, refused: Option<&str>| {
        both(|s| _ = s.signs("far-1/v1", 1000, block(1000, ahead, nonce), refused))
    };
    let own = Some("nonce of far-1/v1");
    assert_eq!(of(0, own, None), Default::default());
    assert!(of(0, Some("another"), None).0.contains("has signed for another connection"));
    assert!(of(0, None, None).0.contains("has signed no nonce"));
    assert!(of(660_000, own, None).0.contains("has signed 660000 ms from now, and is taken"));
    assert!(of(-660_000, own, None).0.contains("has signed 660000 ms from now"));
    assert!(of(540_000, own, Some("DEVICE_AUTH_SIGNATURE_EXPIRED")).1.contains("that is too far"));
    assert_eq!(of(660_000, own, Some("DEVICE_AUTH_SIGNATURE_EXPIRED")), Default::default());
    assert!(of(0, own, Some("DEVICE_AUTH_NONCE_MISMATCH")).1.contains("the nonce that it was given"));
    assert_eq!(of(0, None, Some("DEVICE_AUTH_NONCE_REQUIRED")), Default::default());
}

#[test]
fn s20_one_without_a_nonce_is_good_once() {
    let again = |refused: Option<&str>| {
        both(|s| {
            s.signs("here-1/v1", 1000, block(1000, 570_000, None), None).leave("here-1/v1");
            s.signs("here-1/v2", 700_000, block(1000, 570_000, None), refused);
        })
    };
    assert_eq!(again(Some("DEVICE_AUTH_SIGNATURE_REPLAYED")), Default::default());
    assert!(again(None).0.contains("was used 699000 ms ago, and is taken once more"));
    let first = both(|s| {
        s.signs("here-1/v1", 1000, block(1000, 0, None), Some("DEVICE_AUTH_SIGNATURE_REPLAYED"));
    });
    assert!(first.1.contains("was never used"));
}

/// Lists of who is there, on a clock that goes.
#[test]
fn a_list_is_of_the_time_at_which_it_is_given() {
    let shown = |own: u64, note: Option<u64>| {
        let mut s = Story::new();
        for (conn, at) in [("a-1/1", 1000), ("b-1/1", 2000)] {
            let challenge = json!({ "nonce": "n", "ts": WALL + at });
            s.at(at).open(conn);
            s.receive(conn, json!({ "type": "event", "event": "connect.challenge", "payload": challenge }));
            let mut params = connect_params(conn, "operator", &[]);
            params["client"]["mode"] = "cli".into();
            s.call(conn, "hello", "connect", params);
            s.answer(conn, "hello", json!({ "type": "hello-ok", "protocol": 3 }));
        }
        let params = json!({ "text": "tea" });
        s.at(3000).call("a-1/1", "1", "system-event", params).answer("a-1/1", "1", json!({ "ok": true }));
        let mut list = vec![json!({ "reason": "self", "ts": WALL + own })];
        list.extend(note.map(|ts| json!({ "ts": WALL + ts, "text": "tea", "reason": "x" })));
        s.at(400_000).call("a-1/1", "2", "system-presence", json!({})).answer("a-1/1", "2", json!(list));
        s.verdict("presence")
    };
    assert!(shown(3000, None).contains("its list was made at 3000 ms"));
    assert!(shown(400_000, Some(3000)).contains("has been gone for too long"));
}
