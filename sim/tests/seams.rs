//! The seams hold in the simulator: HTTP, a WebSocket upgrade and an outbound streaming call, on turmoil's streams, with
//! the accept loop and the client of production; and one seed gives one trace.

#![allow(clippy::unwrap_used)] // clippy takes helpers of tests for production code

use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use openclaw_platform::{Clock as _, EntropyExt as _, Platform, SpawnerExt as _, http::HttpClient};
use sim::World;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

const TIMEOUT: Duration = Duration::from_secs(5);
type Body = BoxBody<Bytes, Infallible>;
type Done = Result<(), Box<dyn std::error::Error>>;

/// What happened and when: milliseconds of simulated time.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<(u128, String)>>>);

impl Trace {
    fn note(&self, what: impl Into<String>) {
        let at = turmoil::sim_elapsed().unwrap().as_millis();
        self.0.lock().unwrap().push((at, what.into()));
    }
    fn seen(&self) -> Vec<(u128, String)> {
        self.0.lock().unwrap().clone()
    }
}

/// The accept loop as the gateway has it: no Date header, tokio's timer, upgrades.
async fn serve(platform: Platform) -> Done {
    let mut listener = platform.transport.bind("0.0.0.0:80".parse()?).await?;
    loop {
        let (io, _) = listener.accept().await?;
        let tasks = platform.clone();
        platform.tasks.spawn("connection", async move {
            let service =
                hyper::service::service_fn(move |request| ready(Ok::<_, Infallible>(answer(&tasks, request))));
            let mut server = auto::Builder::new(TokioExecutor::new());
            server
                .http1()
                .timer(TokioTimer::new())
                .auto_date_header(false)
                .header_read_timeout(Duration::from_secs(10));
            // A client that goes away in the middle is nobody's failure.
            let _ = server.serve_connection_with_upgrades(TokioIo::new(io), service).await;
        });
    }
}

fn answer(platform: &Platform, request: Request<Incoming>) -> Response<Body> {
    let whole = |text: &'static str| Full::new(Bytes::from_static(text.as_bytes())).boxed();
    match request.uri().path() {
        "/healthz" => Response::new(whole("fine")),
        "/stream" => {
            let parts = futures_util::stream::iter(0..3).then(|n| async move {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok(Frame::data(Bytes::from(format!("data: {n}\n\n"))))
            });
            let response = Response::new(BodyExt::boxed(StreamBody::new(parts)));
            with_header(response, header::CONTENT_TYPE, "text/event-stream")
        }
        _ if request.headers().contains_key(header::SEC_WEBSOCKET_KEY) => {
            let accept = derive_accept_key(request.headers()[header::SEC_WEBSOCKET_KEY].as_bytes());
            platform.tasks.spawn("socket", echo(request));
            let mut response = Response::new(whole(""));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let response = with_header(response, header::CONNECTION, "upgrade");
            let response = with_header(response, header::UPGRADE, "websocket");
            with_header(response, header::SEC_WEBSOCKET_ACCEPT, &accept)
        }
        _ => with_header(Response::new(whole("nothing here")), header::WARNING, "unknown path"),
    }
}

fn with_header(mut response: Response<Body>, name: header::HeaderName, value: &str) -> Response<Body> {
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

/// Answers each text with its upper case.
async fn echo(request: Request<Incoming>) {
    let upgraded = hyper::upgrade::on(request).await.unwrap();
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            socket.send(Message::text(text.to_uppercase())).await.unwrap();
        }
    }
}

async fn client(platform: Platform, trace: Trace) -> Done {
    let http = HttpClient::new(&platform);
    let get = |path: &str| Request::get(format!("http://server{path}")).body(openclaw_platform::http::Body::default());

    let answer = http.fetch(get("/healthz")?, TIMEOUT, 64).await?;
    assert!(!answer.headers().contains_key(header::DATE), "the real date must not leak into a simulation");
    trace.note(format!("{} {}", answer.status(), String::from_utf8_lossy(answer.body())));

    let started = turmoil::sim_elapsed().unwrap();
    let mut body = http.send(get("/stream")?, TIMEOUT).await?.into_body();
    let mut chunk = 0;
    while let Some(frame) = body.frame().await {
        let text = String::from_utf8(frame?.into_data().unwrap().to_vec())?;
        chunk += 1;
        let waited = turmoil::sim_elapsed().unwrap().saturating_sub(started).as_millis();
        let expected = 200 * chunk..200 * chunk + 150;
        assert!(expected.contains(&waited), "chunk {chunk} after {waited} ms");
        trace.note(text.trim_end());
    }

    let io = platform.transport.connect("server", 80).await?;
    let (mut socket, _) = client_async("ws://server/any/path", io).await?;
    let id = platform.entropy.uuid();
    for n in 0..3 {
        socket.send(Message::text(format!("{n} {id}"))).await?;
        trace.note(socket.next().await.ok_or("closed")??.into_text()?.as_str());
    }
    trace.note(format!("wall {}", platform.clock.wall()));
    socket.close(None).await?;
    Ok(())
}

/// One run of one seed: the trace and the number of random words drawn.
fn run(seed: u64) -> (Vec<(u128, String)>, u64) {
    let world = World::new(seed);
    let trace = Trace::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(UNIX_EPOCH)
        .tick_duration(Duration::from_millis(5))
        .simulation_duration(Duration::from_secs(30))
        .tcp_capacity(256)
        .min_message_latency(Duration::from_millis(5))
        .max_message_latency(Duration::from_millis(40))
        .build();
    let platform = world.platform.clone();
    sim.host("server", move || serve(platform.clone()));
    sim.client("client", client(world.platform.clone(), trace.clone()));
    sim.run().unwrap();
    assert_eq!(world.panics.seen(), [], "a task panicked");
    (trace.seen(), world.entropy.draws())
}

#[test]
fn http_upgrade_and_streaming_repeat_from_the_seed() {
    let (trace, draws) = run(7);
    let said: Vec<&str> = trace.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!(&said[..4], ["200 OK fine", "data: 0", "data: 1", "data: 2"]);
    assert_eq!(said.len(), 8);
    assert!(said[4].starts_with("0 ") && said[6].starts_with("2 "), "{said:?}");
    assert!(draws > 0);
    assert_eq!(run(7), (trace.clone(), draws), "one seed, one trace");
    assert_ne!(run(8).0, trace, "the seed matters");
}

#[test]
fn a_panicking_task_is_on_record() {
    let world = World::new(1);
    let mut sim = turmoil::Builder::new().rng_seed(1).epoch(UNIX_EPOCH).build();
    let platform = world.platform.clone();
    sim.client("client", async move {
        platform.tasks.spawn("fragile", async { panic!("it broke") });
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(())
    });
    sim.run().unwrap();
    let panics = world.panics.seen();
    assert_eq!((panics.len(), panics[0].task, panics[0].message.as_str()), (1, "fragile", "it broke"));
}

#[test]
fn f23_the_wall_clock_jumps_alone() {
    let world = World::new(1);
    let (platform, clock) = (world.platform.clone(), world.clock.clone());
    let mut sim = turmoil::Builder::new().rng_seed(1).epoch(UNIX_EPOCH).build();
    sim.client("client", async move {
        let (mono, wall) = (clock.mono(), clock.wall());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(platform.clock.wall() - wall, 2000);
        clock.jump(-3_600_000);
        assert_eq!(wall - platform.clock.wall(), 3_598_000);
        assert_eq!(platform.clock.mono() - mono, Duration::from_secs(2));
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn addresses_that_do_not_exist_are_errors() {
    let platform = sim::platform(1);
    let mut sim = turmoil::Builder::new().rng_seed(1).epoch(UNIX_EPOCH).build();
    sim.client("client", async move {
        for addr in ["[::1]:80", "10.1.2.3:80"] {
            assert!(platform.transport.bind(addr.parse()?).await.is_err(), "{addr}");
        }
        for host in ["::1", "nowhere", "localhost"] {
            assert!(platform.transport.connect(host, 80).await.is_err(), "{host}");
        }
        let mut listener = platform.transport.bind("127.0.0.1:80".parse()?).await?;
        let (accepted, connected) = tokio::join!(listener.accept(), platform.transport.connect("localhost", 80));
        assert!(accepted.is_ok() && connected.is_ok());
        Ok(())
    });
    sim.run().unwrap();
}
