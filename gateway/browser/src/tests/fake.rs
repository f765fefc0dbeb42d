//! A Chromium in memory: a process that runs until it is told to end, and a DevTools server behind the transport seam.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use futures_util::{SinkExt as _, StreamExt as _};
use openclaw_config::Browser;
use openclaw_platform::{
    BoxFuture, BoxIo, Command, Listener, MemoryStorage, Output, Platform, ProcessError, Processes, Transport, os,
    sync::LockExt as _,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use crate::{BrowserError, Control, Deps, Method, Request};

/// The smallest picture: one pixel.
pub const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// What the machine of a test is like.
#[derive(Default)]
pub struct World {
    /// Chromium is installed.
    pub is_installed: bool,
    /// What Chromium says when it ends at once.
    pub ends_with: Option<String>,
    /// Ports on which a Chromium, or another program (false), listens.
    pub listening: BTreeMap<u16, bool>,
    /// Command lines that were run.
    pub started: Vec<Vec<String>>,
    /// Calls that were made: method and parameters.
    pub calls: Vec<(String, Value)>,
    /// Open pages: id and address.
    pub pages: Vec<(String, String)>,
    /// The next click opens a dialog, and is answered once that is closed.
    pub alerts: bool,
    /// Addresses of names.
    pub names: BTreeMap<String, IpAddr>,
    /// Where connections went that were not to a browser.
    pub connected: Vec<String>,
}

/// A machine; clones are the same.
#[derive(Clone, Default)]
pub struct Machine {
    pub world: Arc<Mutex<World>>,
    pub storage: MemoryStorage,
    /// What tells the browser of each port that it is gone.
    closed: Arc<Mutex<BTreeMap<u16, Arc<Notify>>>>,
    /// Connections to the listeners of this machine.
    bound: Arc<Mutex<BTreeMap<u16, tokio::sync::mpsc::Sender<BoxIo>>>>,
}

impl Machine {
    /// With Chromium.
    pub fn with_chromium() -> Self {
        let machine = Self::default();
        machine.world.locked().is_installed = true;
        machine
    }

    pub fn platform(&self) -> Platform {
        Platform {
            transport: Arc::new(self.clone()),
            processes: Arc::new(self.clone()),
            storage: Arc::new(self.storage.clone()),
            ..os::without_files()
        }
    }

    /// The control of a gateway that has just started.
    pub fn control(&self, config: Browser) -> Control {
        Control::new(Deps {
            platform: self.platform(),
            settings: Arc::new(move || config.clone()),
            port: Some(18791),
            state_dir: "/state".into(),
            display: vec![],
        })
    }

    /// Parameters of the calls of this name.
    pub fn calls(&self, name: &str) -> Vec<Value> {
        let world = self.world.locked();
        world.calls.iter().filter(|(method, _)| method == name).map(|(_, params)| params.clone()).collect()
    }

    fn closed(&self, port: u16) -> Arc<Notify> {
        self.closed.locked().entry(port).or_default().clone()
    }

    /// The browser is gone from one moment to the next.
    pub fn crash(&self) {
        self.world.locked().listening.clear();
        self.closed.locked().values().for_each(|closed| closed.notify_waiters());
    }

    async fn devtools(self, mut io: BoxIo, port: u16) {
        let mut head = Vec::new();
        while !head.windows(4).any(|four| four == b"\r\n\r\n") {
            if io.read_buf(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = format!("/devtools/browser/of-{port}");
        if head.starts_with("GET /json/version ") {
            let body = json!({ "webSocketDebuggerUrl": format!("ws://127.0.0.1:{port}{path}") }).to_string();
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            io.write_all(answer.as_bytes()).await.unwrap();
            return;
        }
        assert!(head.starts_with(&format!("GET {path} ")), "{head}");
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = derive_accept_key(key.trim().as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        io.write_all(answer.as_bytes()).await.unwrap();
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        let closed = self.closed(port);
        let gone = closed.notified();
        tokio::pin!(gone);
        gone.as_mut().enable();
        let (mut sink, mut stream) = socket.split();
        let mut held: Option<Value> = None;
        loop {
            let message = openclaw_platform::select! {
                () = &mut gone => return,
                message = stream.next() => message,
            };
            let Some(Ok(Message::Text(text))) = message else { return };
            let call: Value = serde_json::from_str(&text).unwrap();
            let method = call["method"].as_str().unwrap().to_owned();
            self.world.locked().calls.push((method.clone(), call["params"].clone()));
            let answer =
                json!({ "id": call["id"], "sessionId": call["sessionId"], "result": self.answer(&method, &call) });
            if method == "Browser.close" {
                let _ = sink.send(Message::text(answer.to_string())).await;
                self.world.locked().listening.remove(&port);
                closed.notify_waiters();
                return;
            }
            if method == "Input.dispatchMouseEvent"
                && call["params"]["type"] == "mouseReleased"
                && self.world.locked().alerts
            {
                let dialog =
                    json!({ "method": "Page.javascriptDialogOpening", "sessionId": call["sessionId"], "params": {} });
                sink.send(Message::text(dialog.to_string())).await.unwrap();
                held = Some(answer);
                continue;
            }
            sink.send(Message::text(answer.to_string())).await.unwrap();
            if let (true, Some(held)) = (method == "Page.handleJavaScriptDialog", held.take()) {
                sink.send(Message::text(held.to_string())).await.unwrap();
            }
        }
    }

    fn answer(&self, method: &str, call: &Value) -> Value {
        let mut world = self.world.locked();
        match method {
            "Target.getTargets" => {
                let page =
                    |(id, url): &(String, String)| json!({"targetId": id, "type": "page", "title": "T", "url": url});
                json!({ "targetInfos": world.pages.iter().map(page).collect::<Vec<_>>() })
            }
            "Target.createTarget" => {
                let id = format!("T{}", world.calls.len());
                world.pages.push((id.clone(), "about:blank".to_owned()));
                json!({ "targetId": id })
            }
            "Target.closeTarget" => {
                let id = call["params"]["targetId"].clone();
                world.pages.retain(|(page, _)| id != *page);
                json!({})
            }
            "Target.attachToTarget" => json!({ "sessionId": call["params"]["targetId"] }),
            "Page.navigate" => {
                let (id, url) = (call["sessionId"].clone(), call["params"]["url"].as_str().unwrap().to_owned());
                if url.contains("broken") {
                    return json!({ "errorText": "net::ERR_CONNECTION_REFUSED" });
                }
                world.pages.iter_mut().filter(|(page, _)| id == *page).for_each(|(_, at)| at.clone_from(&url));
                json!({})
            }
            "Runtime.evaluate" => json!({ "result": { "value": "complete" } }),
            "Runtime.callFunctionOn" => json!({ "result": { "value": 1 } }),
            "DOM.resolveNode" => json!({ "object": { "objectId": "o" } }),
            "DOM.getContentQuads" => json!({ "quads": [[10, 20, 30, 20, 30, 40, 10, 40]] }),
            "Page.captureScreenshot" => json!({ "data": PNG }),
            "Page.getLayoutMetrics" => json!({
                "cssContentSize": {"width": 1280, "height": 90_000},
                "cssVisualViewport": {"pageX": 0, "pageY": 0},
            }),
            "Accessibility.getFullAXTree" => json!({ "nodes": [
                {"nodeId": "1", "role": {"value": "RootWebArea"}, "name": {"value": "T"}, "childIds": ["2", "3"]},
                {"nodeId": "2", "parentId": "1", "role": {"value": "button"}, "name": {"value": "Go"}, "backendDOMNodeId": 7},
                {"nodeId": "3", "parentId": "1", "role": {"value": "textbox"}, "name": {"value": "Name"}, "backendDOMNodeId": 8},
            ] }),
            _ => json!({}),
        }
    }
}

impl Transport for Machine {
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        assert!(addr.ip().is_loopback(), "{addr}");
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        let mut bound = self.bound.locked();
        let port = 40_000 + u16::try_from(bound.len()).unwrap();
        bound.insert(port, sender);
        Box::pin(std::future::ready(Ok(Box::new(Bound(receiver, port)) as Box<dyn Listener>)))
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(1 << 20);
            if let Some(listener) = self.bound.locked().get(&port).cloned() {
                listener.try_send(Box::new(far)).map_err(|_| io::ErrorKind::ConnectionRefused)?;
                return Ok(Box::new(near) as BoxIo);
            }
            let listening = self.world.locked().listening.get(&port).copied();
            match listening {
                Some(true) => drop(tokio::spawn(self.clone().devtools(Box::new(far), port))),
                Some(false) => {}
                None if host == "127.0.0.1" => return Err(io::ErrorKind::ConnectionRefused.into()),
                // A site: it says what it was sent.
                None => {
                    self.world.locked().connected.push(format!("{host}:{port}"));
                    let (mut read, mut write) = tokio::io::split(far);
                    drop(tokio::spawn(async move { drop(tokio::io::copy(&mut read, &mut write).await) }));
                }
            }
            Ok(Box::new(near) as BoxIo)
        })
    }

    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found = self.world.locked().names.get(host).copied();
        Box::pin(std::future::ready(found.map(|ip| vec![ip]).ok_or_else(|| io::ErrorKind::NotFound.into())))
    }
}

struct Bound(tokio::sync::mpsc::Receiver<BoxIo>, u16);

impl Listener for Bound {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async {
            let io = self.0.recv().await.ok_or(io::ErrorKind::ConnectionAborted)?;
            Ok((io, SocketAddr::from(([127, 0, 0, 1], 9))))
        })
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], self.1)))
    }
}

impl Processes for Machine {
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
        Box::pin(async move {
            let port = command.argv.iter().find_map(|flag| flag.strip_prefix("--remote-debugging-port="));
            let port: u16 = port.unwrap().parse().unwrap();
            let told = self.closed(port);
            let closed = told.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            let words = {
                let mut world = self.world.locked();
                world.started.push(command.argv);
                world.ends_with.clone()
            };
            let output =
                |stderr: &str| Output { code: Some(1), stdout: vec![], stderr: stderr.into(), truncated: false };
            if let Some(words) = words {
                return Ok(output(&words));
            }
            let ends = Ends { machine: self.clone(), port };
            self.world.locked().listening.insert(port, true);
            self.world.locked().pages = vec![("T0".to_owned(), "about:blank".to_owned())];
            closed.await;
            drop(ends);
            Ok(output(""))
        })
    }

    fn which(&self, program: &str, _: Option<&Path>) -> Option<PathBuf> {
        let is_there = self.world.locked().is_installed && program.ends_with("chromium");
        is_there.then(|| PathBuf::from("/usr/bin/chromium"))
    }
}

/// A process that is dropped listens no longer.
struct Ends {
    machine: Machine,
    port: u16,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.machine.world.locked().listening.remove(&self.port);
        self.machine.closed(self.port).notify_waiters();
    }
}

pub async fn get(control: &Control, path: &str) -> Result<Value, BrowserError> {
    control.handle(Request::new(Method::Get, path, Value::Null)).await
}

pub async fn post(control: &Control, path: &str, body: Value) -> Result<Value, BrowserError> {
    control.handle(Request::new(Method::Post, path, body)).await
}
