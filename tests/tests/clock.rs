//! A system clock that no calendar has a date for: the process goes on (F23).

#![cfg(target_os = "linux")] // the clock is put wrong through the dynamic linker
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::json;
use tests::{Gateway, RawClient, TOKEN, binary, http};

/// Gives every program that loads it a wall clock that stands still at `$FAKE_SECONDS`.
const WRONG_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec = atoll(getenv("FAKE_SECONDS"));
    return result;
}
"#;

fn library(dir: &Path) -> String {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    fs::write(&source, WRONG_CLOCK).unwrap();
    let cc = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output().unwrap();
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    library.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn f23_a_clock_before_1970_or_in_the_year_60000_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path());
    for (seconds, said) in [("-100000", "before 1970"), ("1831849257600", "after the year 9998")] {
        let env = [("LD_PRELOAD", library.as_str()), ("FAKE_SECONDS", seconds)];
        let config = json!({ "agents": { "defaults": { "model": "builtin/echo" } } });
        let mut gateway = Gateway::start(config, &env).await;
        let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
        let params = json!({ "message": "hello", "sessionKey": "s", "idempotencyKey": "k" });
        client.send(&json!({ "type": "req", "id": "c", "method": "chat.send", "params": params })).await;
        client.until(|f| f["event"] == "chat" && f["payload"]["state"] == "final").await;
        let ready = http("GET", &format!("http://127.0.0.1:{}/readyz", gateway.port), &[], None).await;
        assert_eq!(ready.0, 200, "{}", gateway.output());
        for args in [&["health"][..], &["status"], &["devices", "list"], &["delivery", "list"], &["backup", "create"]] {
            let run = Command::new(binary("openclaw"))
                .args(args)
                .env_clear()
                .env("HOME", gateway.home.path())
                .env("OPENCLAW_GATEWAY_PORT", gateway.port.to_string())
                .envs(env)
                .output()
                .unwrap();
            assert!(run.status.success(), "{args:?} at {seconds}: {}", String::from_utf8_lossy(&run.stderr));
        }
        assert!(gateway.is_running(), "{}", gateway.output());
        assert_eq!(gateway.output().matches(said).count(), 1, "one line: {}", gateway.output());
        gateway.signal(rustix::process::Signal::TERM);
        let ended = gateway.wait(Duration::from_mins(1)).await;
        assert!(ended.success(), "{ended}: {}", gateway.output());
    }
}
