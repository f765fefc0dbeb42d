//! Parameters of `connect`, with and without a signed device, against a model of the rules: who is let in had a right
//! credential and a right signature over exactly these fields (S05, S20); who had both is let in.

use crate::{Frame, TOKEN, World, message};
use arbitrary::{Arbitrary, Unstructured};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ed25519_dalek::{Signer as _, SigningKey};
use openclaw_protocol::{
    connect::ConnectParams,
    device::{MAX_SKEW_MS, PublicKey, Signed, signed_text},
    schema,
};
use openclaw_server::limits::{SCOPE_TEXT, SCOPES};
use serde_json::{Map, Value, json};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    protocol: (Number, Number),
    client: u8,
    mode: u8,
    names: [Option<&'a str>; 4],
    role: Option<Role<'a>>,
    scopes: Option<Vec<&'a str>>,
    caps: Option<Vec<&'a str>>,
    permissions: Option<Vec<(&'a str, bool)>>,
    token: Credential<'a>,
    password: Option<&'a str>,
    device: Option<Device<'a>>,
    /// Something else at one place.
    stranger: Option<(u8, &'a str)>,
}

#[derive(Arbitrary, Debug)]
enum Number {
    Right,
    Other(i64),
    Float(f64),
}

#[derive(Arbitrary, Debug)]
enum Role<'a> {
    Operator,
    Node,
    Other(&'a str),
}

#[derive(Arbitrary, Debug)]
enum Credential<'a> {
    Right,
    Near(u8),
    Other(&'a str),
    None,
}

#[derive(Arbitrary, Debug)]
struct Device<'a> {
    key: u8,
    spelling: u8,
    id: Option<&'a str>,
    nonce: Nonce<'a>,
    skew: i32,
    /// What is signed in place of what is sent.
    lie: u8,
    signature: Option<&'a str>,
}

#[derive(Arbitrary, Debug)]
enum Nonce<'a> {
    Right,
    Other(&'a str),
    None,
}

const CLIENTS: [&str; 8] =
    ["test", "cli", "webchat", "node-host", "openclaw-ios", "gateway-client", "openclaw-control-ui", "nobody"];
const MODES: [&str; 6] = ["ui", "cli", "node", "backend", "webchat", "other"];

/// One input.
pub fn run(input: &[u8]) {
    if let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(input)) {
        connect(input);
    }
}

fn connect(input: Input<'_>) {
    World::with(|world| {
        world.visit(async |mut socket| {
            let (nonce, now) = socket.upgrade().await;
            let params = params(&input, &nonce, now);
            let wanted = is_right(&params, &nonce, now);
            let frame = json!({ "type": "req", "id": "c", "method": "connect", "params": params });
            socket.send(&message(1, frame.to_string().as_bytes())).await;
            let answer = loop {
                match socket.frame().await {
                    Some(Frame::Json(answer)) if answer["type"] == "res" => break answer,
                    Some(Frame::Json(_) | Frame::Ping(_) | Frame::Pong) => {}
                    other => panic!("no answer but {other:?} to {frame}"),
                }
            };
            let let_in = answer["payload"]["type"] == "hello-ok";
            assert_eq!(let_in, wanted, "{answer}\nto {frame}");
            let issued = &answer["payload"]["auth"]["deviceToken"];
            assert_eq!(issued.is_string(), let_in && params.get("device").is_some(), "{answer}");
            let_in
        })
    });
}

fn params(input: &Input<'_>, nonce: &str, now: u64) -> Value {
    let mut params = Map::new();
    let number = |n: &Number| match n {
        Number::Right => json!(3),
        Number::Other(n) => json!(n),
        Number::Float(f) => json!(f),
    };
    params.insert("minProtocol".into(), number(&input.protocol.0));
    params.insert("maxProtocol".into(), number(&input.protocol.1));
    let pick = |list: &[&'static str], n: u8| list[usize::from(n) % list.len()];
    let mut client = json!({
        "id": pick(&CLIENTS, input.client), "mode": pick(&MODES, input.mode), "version": "1", "platform": "fuzz",
    });
    for (key, name) in ["displayName", "instanceId", "version", "deviceFamily"].iter().zip(input.names) {
        if let Some(name) = name {
            client[*key] = name.into();
        }
    }
    params.insert("client".into(), client);
    let role = input.role.as_ref().map(|role| match role {
        Role::Operator => "operator",
        Role::Node => "node",
        Role::Other(name) => name,
    });
    let optional = [
        ("role", role.map(Value::from)),
        ("scopes", input.scopes.clone().map(Value::from)),
        ("caps", input.caps.clone().map(Value::from)),
        (
            "permissions",
            input.permissions.as_ref().map(|p| p.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect()),
        ),
    ];
    params.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    let token = match &input.token {
        Credential::Right => Some(TOKEN.to_owned()),
        Credential::Near(n) => Some(TOKEN[..usize::from(*n) % (TOKEN.len() + 1)].to_owned()),
        Credential::Other(text) => Some((*text).to_owned()),
        Credential::None => None,
    };
    let mut auth = Map::new();
    auth.extend(token.map(|token| ("token".to_owned(), token.into())));
    auth.extend(input.password.map(|password| ("password".to_owned(), password.into())));
    if !auth.is_empty() {
        params.insert("auth".into(), auth.into());
    }
    if let Some(device) = &input.device {
        let block = block(device, &params, nonce, now);
        params.insert("device".into(), block);
    }
    let mut params = Value::Object(params);
    if let Some((place, key)) = input.stranger {
        let place = ["", "/client", "/device", "/auth"][usize::from(place) % 4];
        if let Some(Value::Object(map)) = params.pointer_mut(place) {
            map.insert(key.to_owned(), Value::Null);
        }
    }
    params
}

fn block(device: &Device<'_>, params: &Map<String, Value>, nonce: &str, now: u64) -> Value {
    let key = SigningKey::from_bytes(&[device.key; 32]);
    let raw = key.verifying_key();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id = device.id.map_or_else(
        || PublicKey::parse(&URL_SAFE_NO_PAD.encode(raw.as_bytes())).expect("a key").device_id(),
        str::to_owned,
    );
    let sent = match &device.nonce {
        Nonce::Right => Some(nonce.to_owned()),
        Nonce::Other(text) => Some((*text).to_owned()),
        Nonce::None => None,
    };
    let signed_at = now.saturating_add_signed(device.skew.into());
    let scopes: Vec<String> = params.get("scopes").and_then(Value::as_array).into_iter().flatten().map(text).collect();
    let role = params.get("role").map_or_else(|| "operator".to_owned(), text);
    let auth = params.get("auth").map(|auth| text(&auth["token"])).unwrap_or_default();
    let (client, mode) = (text(&params["client"]["id"]), text(&params["client"]["mode"]));
    let mut said = Signed {
        device_id: &id,
        client_id: &client,
        client_mode: &mode,
        role: &role,
        scopes: &scopes,
        signed_at,
        token: &auth,
        nonce: sent.as_deref().map(str::trim).filter(|n| !n.is_empty()),
    };
    match device.lie {
        1 => said.device_id = "other",
        2 => said.client_id = "other",
        3 => said.client_mode = "other",
        4 => said.role = "admin",
        5 => said.scopes = &[],
        6 => said.signed_at += 1,
        7 => said.token = "other",
        8 => said.nonce = Some("other"),
        9 => said.nonce = None,
        _ => {}
    }
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed_text(&said).as_bytes()).to_bytes());
    let spelled = match device.spelling % 3 {
        0 => URL_SAFE_NO_PAD.encode(raw.as_bytes()),
        1 => STANDARD.encode(raw.as_bytes()),
        _ => format!(" {}\n", URL_SAFE_NO_PAD.encode(raw.as_bytes())),
    };
    let mut block = json!({
        "id": id, "publicKey": spelled, "signedAt": signed_at,
        "signature": device.signature.map_or(signature, str::to_owned),
    });
    if let Some(sent) = sent {
        block["nonce"] = sent.into();
    }
    block
}

/// The rules for a client on this machine, written down a second time.
fn is_right(params: &Value, nonce: &str, now: u64) -> bool {
    if !schema::validator::<ConnectParams>().is_valid(params) {
        return false;
    }
    let whole = |key: &str| params[key].as_i64().or_else(|| params[key].as_f64().map(|f| f as i64)).unwrap_or(0);
    if whole("minProtocol") > 3 || whole("maxProtocol") < 3 {
        return false;
    }
    let scopes: Vec<String> =
        params["scopes"].as_array().into_iter().flatten().map(|s| s.as_str().unwrap_or_default().to_owned()).collect();
    if scopes.len() > SCOPES || scopes.iter().any(|scope| scope.chars().count() > SCOPE_TEXT) {
        return false;
    }
    let role = params.get("role").map_or(Some("operator"), Value::as_str).unwrap_or_default();
    if !["operator", "node"].contains(&role) || params["auth"]["token"] != TOKEN {
        return false;
    }
    let Some(device) = params.get("device") else { return params["client"]["id"] != "openclaw-control-ui" };
    let text = |key: &str| device[key].as_str().unwrap_or_default();
    let signed_at = device["signedAt"].as_u64().unwrap_or(0);
    let Some(key) = PublicKey::parse(text("publicKey")).filter(|key| key.device_id() == text("id")) else {
        return false;
    };
    let said = Some(text("nonce").trim()).filter(|n| !n.is_empty());
    if signed_at.abs_diff(now) > MAX_SKEW_MS || said.is_some_and(|said| said != nonce) {
        return false;
    }
    let signed = Signed {
        device_id: text("id"),
        client_id: params["client"]["id"].as_str().unwrap_or_default(),
        client_mode: params["client"]["mode"].as_str().unwrap_or_default(),
        role,
        scopes: &scopes,
        signed_at,
        token: TOKEN,
        nonce: said,
    };
    // A separator within a scope would make one text stand for two lists.
    !scopes.iter().any(|s| s.contains([',', '|'])) && key.verifies(&signed_text(&signed), text("signature"))
}
