//! What an answer must be for its question, whatever else happens: one row for each method.

use serde_json::Value;

use super::rules::wake_words;
use crate::oracle::{
    conn::{Conn, Hello},
    findings::Findings,
};

/// A method, and what is wrong with an answer of it, given its parameters and payload.
type Shape = (&'static str, fn(&Value, &Value, &Hello) -> Option<String>);

const SHAPES: [Shape; 44] = [
    ("chat.send", |p, a, _| either(a["runId"].is_null() || a["runId"] == p["idempotencyKey"], "runId is not the key")),
    ("agent", |p, a, _| either(a["runId"] == p["idempotencyKey"], "runId is not the key")),
    ("agent.wait", |p, a, _| either(a["runId"] == p["runId"], "another run")),
    ("agent.identity.get", |p, a, _| either(p["agentId"].is_null() || a["agentId"] == p["agentId"], "another agent")),
    ("agents.list", |_, a, _| either(rows(a, "agents").any(|r| r["id"] == a["defaultId"]), "the default is not in it")),
    ("models.list", |_, a, _| {
        let ids: Vec<_> = rows(a, "models").map(|r| (said(&r["provider"]), said(&r["id"]))).collect();
        either(!ids.is_empty() && are_different(&ids), "no model, or one twice")
    }),
    ("chat.history", |p, a, _| {
        let most = p["limit"].as_u64().unwrap_or(200);
        first([
            either(a["sessionKey"] == p["sessionKey"], "another session"),
            either(rows(a, "messages").count() as u64 <= most, "more than asked for"),
        ])
    }),
    ("chat.abort", |p, a, _| {
        let named = |id: &Value| p["runId"].is_null() || *id == p["runId"];
        first([
            either(a["aborted"] == rows(a, "runIds").next().is_some(), "`aborted` and `runIds` differ"),
            either(rows(a, "runIds").all(named), "another run than the one that was named"),
        ])
    }),
    ("sessions.list", |p, a, h| {
        let list: Vec<&Value> = rows(a, "sessions").collect();
        let keys: Vec<_> = list.iter().map(|r| (said(&r["key"]), "")).collect();
        // What changes while a list is made may stand where it was.
        let settled = |r: &&&Value| r["updatedAt"].as_u64().unwrap_or(0) + 3000 < a["ts"].as_u64().unwrap_or(0);
        let old: Vec<&&Value> = list.iter().filter(settled).collect();
        let newest = old.windows(2).all(|w| w[0]["updatedAt"].as_u64() >= w[1]["updatedAt"].as_u64());
        let most = p["limit"].as_u64().unwrap_or(200);
        let label = |r: &&Value| p["label"].is_null() || r["label"] == p["label"];
        let needle = p["search"].as_str().map(|s| s.trim().to_lowercase()).unwrap_or_default();
        let found = |r: &&Value| {
            let texts = ["key", "label", "displayName", "subject", "sessionId"];
            texts.iter().any(|t| r[*t].as_str().is_some_and(|s| s.to_lowercase().contains(&needle)))
        };
        let ago = p["activeMinutes"].as_u64().map_or(0, |m| a["ts"].as_u64().unwrap_or(0).saturating_sub(m * 60_000));
        let of_kind = |kind: &str| list.iter().any(|r| r["kind"] == kind);
        let agent = p["agentId"].as_str().map(|id| format!("agent:{}:", id.trim().to_lowercase()));
        // Those without an agent are the default one's.
        let default = h.session("x").starts_with(agent.as_deref().unwrap_or_default());
        let of_agent = |r: &&Value| {
            let key = said(&r["key"]);
            agent.as_ref().is_none_or(|of| key.starts_with(of) || default && !key.starts_with("agent:"))
        };
        let labels: Vec<_> = list.iter().filter_map(|r| Some((r["label"].as_str()?, ""))).collect();
        let route = |r: &&Value| {
            let to = &r["deliveryContext"];
            r["lastTo"] == to["to"]
                && r["lastChannel"] == to["channel"]
                && r["channel"] == to["channel"]
                && r["lastAccountId"] == to["accountId"]
        };
        first([
            either(a["count"] == list.len() as u64, "`count` is not the number of rows"),
            either(newest, "not newest first"),
            either(are_different(&keys), "a session twice"),
            either(list.len() as u64 <= most, "more than asked for"),
            either(list.iter().all(label), "another label"),
            either(needle.is_empty() || list.iter().all(found), "something that was not searched for"),
            // It was asked for before it was made.
            either(
                list.iter().all(|r| r["updatedAt"].as_u64().unwrap_or(0) + 3000 >= ago),
                "one that was silent for longer",
            ),
            either(p["includeUnknown"] == true || !of_kind("unknown"), "an unknown one, which was not asked for"),
            either(p["includeGlobal"] != false || !of_kind("global"), "the global one, which was not asked for"),
            either(list.iter().all(of_agent), "one of another agent"),
            either(are_different(&labels), "two of one label"),
            either(list.iter().all(route), "a route that is told in two ways"),
        ])
    }),
    ("sessions.preview", |p, a, _| {
        let asked: Vec<&Value> = rows(p, "keys").take(64).collect();
        let given: Vec<&Value> = rows(a, "previews").map(|r| &r["key"]).collect();
        let (most, chars) = (p["limit"].as_u64().unwrap_or(12), p["maxChars"].as_u64().unwrap_or(240));
        let fits = |r: &Value| {
            let short = |i: &Value| said(&i["text"]).chars().count() as u64 <= chars;
            rows(r, "items").count() as u64 <= most && rows(r, "items").all(short)
        };
        let status = |r: &Value| (rows(r, "items").next().is_some()) == (r["status"] == "ok");
        first([
            either(asked == given, "not the sessions that were asked for, in their order"),
            either(rows(a, "previews").all(fits), "more or longer lines than asked for"),
            either(rows(a, "previews").all(status), "`ok` and lines do not go together"),
        ])
    }),
    ("sessions.patch", |p, a, h| {
        let plain =
            ["label", "thinkingLevel", "reasoningLevel", "elevatedLevel", "sendPolicy", "execNode", "groupActivation"];
        let set = |key: &&str| p.get(*key).is_none_or(|v| a["entry"].get(*key).cloned().unwrap_or_default() == *v);
        let wrong = plain.iter().find(|key| !set(key));
        first([of_session(p, a, h), wrong.map(|key| format!("`{key}` is not what was set"))])
    }),
    ("sessions.reset", |p, a, h| {
        let zero = ["inputTokens", "outputTokens", "totalTokens"];
        let is_zero = zero.iter().all(|key| a["entry"][*key].as_u64().unwrap_or(0) == 0);
        first([of_session(p, a, h), either(is_zero, "tokens are still counted")])
    }),
    ("sessions.delete", of_session),
    ("sessions.compact", |p, a, h| {
        let kept = a["kept"].as_u64().is_none_or(|kept| kept <= p["maxLines"].as_u64().unwrap_or(400));
        first([of_session(p, a, h), either(kept, "more is kept than was asked for")])
    }),
    ("sessions.resolve", |p, a, h| {
        let agent = p["agentId"].as_str().map(|id| format!("agent:{}:", id.trim().to_lowercase()));
        let named = p["key"].as_str().is_none_or(|key| a["key"] == h.session(key).as_str());
        let of_agent =
            agent.is_none_or(|of| !said(&a["key"]).starts_with("agent:") || said(&a["key"]).starts_with(&of));
        first([either(named, "another session"), either(of_agent, "a session of another agent")])
    }),
    ("send", |p, a, _| {
        let channel = p["channel"].as_str().unwrap_or("whatsapp");
        let to = said(&p["to"]).trim_start_matches("telegram:");
        first([
            either(a["runId"] == p["idempotencyKey"], "runId is not the key"),
            either(a["channel"] == channel, "another channel"),
            either(!said(&a["messageId"]).is_empty(), "no message id"),
            either(to.parse::<i64>().is_err() || a["chatId"] == to || is_moved(to, &a["chatId"]), "another chat"),
        ])
    }),
    ("system-presence", |_, a, h| {
        let list = || a.as_array().into_iter().flatten();
        let own = h.presence_key().map(str::to_lowercase);
        let is_own =
            |e: &Value| ["deviceId", "instanceId"].iter().any(|k| e[*k].as_str().map(str::to_lowercase) == own);
        let there = own.is_none() || !h.is_shown() || list().any(is_own);
        first([
            either(list().any(|e| e["mode"] == "gateway"), "the gateway itself is not in it"),
            either(there, "who asks is not in it"),
        ])
    }),
    ("health", |_, a, _| {
        first([
            either(rows(a, "agents").any(|r| r["agentId"] == a["defaultAgentId"]), "the default agent is not in it"),
            either(rows(&a["sessions"], "recent").count() <= 5, "more than five sessions"),
            either((a["ok"] == true) == a["problem"].is_null(), "`ok` and `problem` do not go together"),
        ])
    }),
    ("status", |_, a, _| {
        let agents = rows(&a["sessions"], "byAgent").filter_map(|r| r["count"].as_u64()).sum::<u64>();
        first([
            either(rows(&a["sessions"], "recent").count() <= 10, "more than ten sessions"),
            either(a["sessions"]["count"].as_u64().is_some_and(|n| n >= agents), "fewer sessions than its agents have"),
        ])
    }),
    ("voicewake.set", |p, a, _| {
        p["triggers"]
            .as_array()
            .and_then(|given| either(a["triggers"] == wake_words(given), "not the words that were given"))
    }),
    ("talk.mode", |p, a, _| {
        first([
            either(a["enabled"] == p["enabled"], "not what was set"),
            either(a["phase"] == p["phase"], "another phase"),
        ])
    }),
    ("set-heartbeats", |p, a, _| either(a["enabled"] == p["enabled"], "not what was set")),
    ("node.list", |_, a, _| {
        let list: Vec<&Value> = rows(a, "nodes").collect();
        let ids: Vec<_> = list.iter().map(|r| (said(&r["nodeId"]), "")).collect();
        let name = |r: &Value| r["displayName"].as_str().unwrap_or(said(&r["nodeId"])).to_lowercase();
        let place = |r: &Value| (r["connected"] != true, name(r), said(&r["nodeId"]).to_owned());
        first([
            either(are_different(&ids), "a node twice"),
            either(list.windows(2).all(|w| place(w[0]) <= place(w[1])), "connected ones first, then by name"),
        ])
    }),
    ("node.describe", |p, a, _| either(a["nodeId"] == said(&p["nodeId"]).trim(), "another node")),
    ("node.rename", |p, a, _| {
        let same = |key: &str| a[key] == said(&p[key]).trim();
        either(same("nodeId") && same("displayName"), "not what was set")
    }),
    ("node.invoke", |p, a, _| {
        let same = |key: &str| a[key] == said(&p[key]).trim();
        either(same("nodeId") && same("command"), "another node or command")
    }),
    ("node.pair.request", |p, a, _| {
        let of = &a["request"];
        let same = |key: &&str| p.get(*key).is_none_or(|v| of[*key] == *v);
        let all = ["displayName", "platform", "version", "caps", "commands"];
        first([
            either(a["status"] == "pending", "not pending"),
            either(of["nodeId"] == said(&p["nodeId"]).trim(), "another node"),
            either(a["created"] == false || all.iter().all(same), "not what was asked for"),
        ])
    }),
    ("node.pair.list", |_, a, _| {
        let newest = |key: &str, at: &str| {
            let times: Vec<_> = rows(a, key).map(|r| r[at].as_u64()).collect();
            times.windows(2).all(|w| w[0] >= w[1])
        };
        first([
            either(rows(a, "paired").all(|r| r.get("token").is_none()), "it shows a token"),
            either(newest("pending", "ts") && newest("paired", "approvedAtMs"), "not newest first"),
        ])
    }),
    ("node.pair.approve", |p, a, _| {
        first([
            either(a["requestId"] == p["requestId"], "another request"),
            either(said(&a["node"]["token"]).len() >= 32, "no token"),
        ])
    }),
    ("node.pair.reject", |p, a, _| either(a["requestId"] == p["requestId"], "another request")),
    ("node.pair.verify", |p, a, _| {
        let same = a["node"]["nodeId"] == said(&p["nodeId"]).trim() && a["node"].get("token").is_none();
        either(
            (a["ok"] == true) == a["node"].is_object() && (a["ok"] != true || same),
            "not that node, or with its token",
        )
    }),
    ("device.pair.list", |_, a, _| {
        let secret = |r: &Value| rows(r, "tokens").any(|t| t.get("token").is_some());
        either(!rows(a, "paired").any(secret), "it shows a token")
    }),
    ("device.token.rotate", |p, a, _| {
        let same = |key: &str| a[key] == p[key];
        either(same("deviceId") && same("role"), "another device or role")
    }),
    ("device.token.revoke", |p, a, _| {
        let same = |key: &str| a[key] == p[key];
        either(same("deviceId") && same("role"), "another device or role")
    }),
    ("exec.approval.request", |p, a, _| {
        let times = a["expiresAtMs"].as_u64().zip(a["createdAtMs"].as_u64());
        let lasts = p["timeoutMs"].as_u64().unwrap_or(120_000);
        first([
            either(p["id"].is_null() || a["id"] == p["id"], "another id"),
            either(
                lasts > 600_000 || times.is_some_and(|(end, from)| end.checked_sub(from) == Some(lasts)),
                "another time",
            ),
        ])
    }),
    ("exec.approvals.set", |p, a, _| {
        let patterns = |v: &Value| -> Vec<(String, Vec<String>)> {
            let agents = v["agents"].as_object().into_iter().flatten();
            let of = |a: &Value| rows(a, "allowlist").map(|r| said(&r["pattern"]).to_owned()).collect();
            agents.map(|(id, a)| (id.clone(), of(a))).collect()
        };
        let (given, stored) = (patterns(&p["file"]), patterns(&a["file"]));
        let defaults = |v: &Value, key: &str| v["defaults"].get(key).cloned();
        let same = ["security", "ask", "askFallback"]
            .iter()
            .all(|k| defaults(&p["file"], k).is_none() || defaults(&p["file"], k) == defaults(&a["file"], k));
        first([
            either(given.iter().all(|agent| stored.contains(agent)), "not the programs that were given"),
            either(same, "not the defaults that were given"),
            either(a["file"]["socket"].get("token").is_none(), "it shows the socket's token"),
        ])
    }),
    ("config.get", |_, a, _| either(a["exists"] == true && said(&a["hash"]).len() == 64, "no file, or no hash")),
    ("config.set", |p, a, _| written(p, a)),
    ("config.patch", |p, a, _| written(p, a)),
    ("config.apply", |p, a, _| written(p, a)),
    ("config.schema", |_, a, _| {
        either(
            a["schema"]["properties"]["gateway"].is_object() && a["uiHints"]["gateway.port"].is_object(),
            "not the file's",
        )
    }),
    ("delivery.list", |p, a, _| {
        let most = p["limit"].as_u64().unwrap_or(200);
        let of = |state: &str| rows(a, "deliveries").filter(|r| r["state"] == state).count() as u64;
        let whole = p["state"].is_null() && (rows(a, "deliveries").count() as u64) < most;
        let counts = |key: &str| a["counts"][key].as_u64().unwrap_or(0);
        first([
            either(rows(a, "deliveries").count() as u64 <= most, "more than asked for"),
            either(rows(a, "deliveries").all(|r| p["state"].is_null() || r["state"] == p["state"]), "another state"),
            either(
                !whole || of("dead") == counts("dead") && of("unknown") == counts("unknown"),
                "other counts than rows",
            ),
        ])
    }),
    ("delivery.drop", |p, a, _| {
        either(p["id"].is_null() || rows(a, "ids").all(|id| *id == p["id"]), "another message")
    }),
    ("delivery.retry", |p, a, _| {
        either(p["id"].is_null() || rows(a, "ids").all(|id| *id == p["id"]), "another message")
    }),
];

/// What was to be written is what the file says now; a null or a secret says nothing.
fn written(params: &Value, answer: &Value) -> Option<String> {
    fn lies_in(wanted: &Value, found: &Value) -> bool {
        match (wanted, found) {
            (Value::Object(wanted), found) => wanted.iter().all(|(key, item)| lies_in(item, &found[key])),
            (Value::Null, _) => true,
            (Value::Array(wanted), Value::Array(found)) => {
                wanted.len() == found.len() && wanted.iter().zip(found).all(|(wanted, found)| lies_in(wanted, found))
            }
            (wanted, found) => wanted == found || *found == openclaw_config::REDACTED,
        }
    }
    let wanted = openclaw_config::read_value(said(&params["raw"])).unwrap_or_default();
    either(lies_in(&wanted, &answer["config"]) && said(&answer["hash"]).len() == 64, "not what was to be written")
}

fn either(ok: bool, why: &str) -> Option<String> {
    (!ok).then(|| why.to_owned())
}

fn first<const N: usize>(all: [Option<String>; N]) -> Option<String> {
    all.into_iter().flatten().next()
}

fn rows<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn said(v: &Value) -> &str {
    v.as_str().unwrap_or_default()
}

fn are_different(ids: &[(&str, &str)]) -> bool {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|w| w[0] != w[1])
}

fn of_session(p: &Value, a: &Value, h: &Hello) -> Option<String> {
    either(a["key"] == h.session(said(&p["key"])).as_str(), "another session")
}

/// The good answers of a connection.
pub fn check(c: &Conn, out: &mut Findings) {
    let Some(hello) = &c.hello else { return };
    for r in &c.requests {
        let Some(answer) = r.first.filter(super::super::conn::Answer::ok) else { continue };
        let shapes = SHAPES.iter().filter(|(method, _)| *method == r.method);
        for why in shapes.filter_map(|(_, wrong)| wrong(r.params, &answer.frame["payload"], hello)) {
            out.broken("answers", answer.at.i, format!("{}: the answer to {}: {why}", c.name, r.method));
        }
    }
}

/// A group that has become a supergroup has another id, which begins with -100.
fn is_moved(to: &str, chat: &Value) -> bool {
    to.starts_with('-') && !to.starts_with("-100") && chat.as_str().is_some_and(|chat| chat.starts_with("-100"))
}
