//! `load`: puts a gateway under load and says how it did, as ratios to a floor that was loaded in the same run.
//!
//! Loopback only. It starts the gateway of the same build itself (`--url` takes one that runs already) and a floor server
//! ([`floor`]) whose answers have the gateway's sizes. Each figure is the median over rounds in which the two take turns.
//! Start reading at [`Command`]; the generator's side of the wire is [`wire`].

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway: real processes, files and time

mod churn;
mod curve;
mod fanout;
mod floor;
mod garbage;
mod handshakes;
mod identity;
mod idle;
mod measure;
mod plot;
mod policies;
mod reads;
mod report;
mod requests;
mod rpc;
mod server;
mod slow;
mod soak;
mod state;
mod wire;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use crate::{
    curve::Curves,
    floor::Sizes,
    garbage::Flood,
    measure::{Pair, Rounds, Sample},
    report::{Figure, Report, Target},
    requests::Request,
    rpc::Pace,
    server::{Server, Which},
    slow::Readers,
};

/// What can go wrong is told to a person.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Load on a gateway, measured against a floor.
#[derive(Debug, Parser)]
#[command(name = "load", max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Args)]
struct Global {
    /// The gateway program (else the one beside this program)
    #[arg(long, global = true, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// Load this gateway instead of starting one, on loopback: 127.0.0.1:18789
    #[arg(long, global = true, value_name = "ADDR", value_parser = loopback, requires = "token")]
    url: Option<SocketAddr>,
    /// Its token
    #[arg(long, global = true)]
    token: Option<String>,
    /// Its process, for CPU and memory
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// Do not measure the floor
    #[arg(long, global = true)]
    no_floor: bool,
    /// Medians of this many
    #[arg(long, global = true, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds of load in one round
    #[arg(long, global = true, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Print JSON for scripts
    #[arg(long, global = true)]
    json: bool,
    /// Fail when a target is missed
    #[arg(long, global = true)]
    check: bool,
}

fn loopback(text: &str) -> std::result::Result<SocketAddr, String> {
    let text = text.strip_prefix("ws://").unwrap_or(text).trim_end_matches('/');
    let addr: SocketAddr = text.parse().map_err(|_| format!("expected ADDRESS:PORT, found {text:?}"))?;
    if addr.ip().is_loopback() { Ok(addr) } else { Err("only a gateway on loopback is put under load".to_owned()) }
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let seconds = text.parse().ok().filter(|s| (0.05..=600.0).contains(s));
    seconds.ok_or_else(|| format!("expected seconds from 0.05 to 600, found {text:?}"))
}

fn rate(text: &str) -> std::result::Result<f64, String> {
    let rate = text.parse().ok().filter(|r| (1.0..=1e6).contains(r));
    rate.ok_or_else(|| format!("expected frames a second from 1 to 1000000, found {text:?}"))
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Connections opened to hello-ok and dropped: with a token, then with a device signature
    Handshakes {
        /// Under way at a time
        #[arg(long, default_value_t = 8)]
        connections: usize,
    },
    /// Requests, with a fixed number under way on each connection
    Rpc {
        /// What is asked (else health, system-presence and last-heartbeat)
        #[arg(long)]
        method: Option<Request>,
        /// Connections
        #[arg(long, default_value_t = 8)]
        connections: usize,
        /// Under way on each (else 1 and 16)
        #[arg(long)]
        pipeline: Option<usize>,
    },
    /// One event to many subscribers
    Fanout {
        /// How many (else 10, 100 and 1000)
        #[arg(long)]
        subscribers: Option<usize>,
        /// Events under way at most (else 1 and 8)
        #[arg(long)]
        window: Option<usize>,
    },
    /// Connections that do nothing
    Idle {
        /// How many
        #[arg(long, default_value_t = 10_000)]
        connections: usize,
        /// Seconds to hold them; a tick comes every 30
        #[arg(long, default_value_t = 61.0, value_parser = seconds)]
        hold: f64,
    },
    /// Readers that stall beside readers that do not
    Slow {
        /// Readers that read
        #[arg(long, default_value_t = 16)]
        fast: usize,
        /// Readers that do not
        #[arg(long, default_value_t = 4)]
        stalled: usize,
        /// Bytes of an event, about
        #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..=15_500))]
        bytes: u32,
    },
    /// One client that asks for everything at once, beside others that ask for little
    Reads {
        /// Sessions that there are
        #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        sessions: u32,
        /// Turns of each
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        turns: u32,
    },
    /// Start, memory, turns and the largest list, with few sessions stored and with many
    State {
        /// How many; the first is what the others are compared with
        #[arg(long, value_delimiter = ',', default_values_t = [100, 4000, 100_000], value_parser = clap::value_parser!(u32).range(100..=100_000))]
        sessions: Vec<u32>,
        /// Turns of each
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
        turns: u32,
    },
    /// maxBufferedBytes and maxPayload: sizes of events and frames over bounds for them
    Policies,
    /// Garbage first frames beside good clients
    Garbage {
        /// How many
        #[arg(long, default_value_t = 1_000_000)]
        frames: u64,
        /// At a time
        #[arg(long, default_value_t = 8)]
        connections: usize,
        /// A second (else as many as go, which takes all cores that there are)
        #[arg(long, value_parser = rate)]
        rate: Option<f64>,
    },
    /// From the start of the process to the first hello-ok
    Start,
    /// Latency at growing rates of requests
    Curve {
        /// What is asked
        #[arg(long, default_value = "health")]
        method: Request,
        /// Where the picture goes
        #[arg(long, value_name = "FILE.svg")]
        plot: Option<PathBuf>,
    },
    /// Everything at once: requests, events, chats, reconnects, garbage, stalled readers
    #[command(alias = "mixed")]
    Soak {
        /// How long
        #[arg(long, default_value_t = 30.0)]
        minutes: f64,
    },
    /// Very many requests and connections; resident memory has to come back to what it was after the warm-up
    Churn {
        /// Requests after the warm-up; one in a hundred is a turn of an agent
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(100..))]
        requests: u64,
        /// Connections after the warm-up
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(10..))]
        connections: u64,
        /// Percent above the memory after the warm-up
        #[arg(long, default_value_t = 10.0)]
        bound: f64,
    },
    /// All of the above but soak and churn, with fewer garbage frames and no picture
    All {
        /// Garbage first frames
        #[arg(long, default_value_t = 100_000)]
        frames: u64,
    },
    /// The floor itself
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        port: u16,
        #[command(flatten)]
        sizes: Sizes,
    },
}

/// A line on stderr about what is going on.
fn progress(text: &str) {
    eprintln!("load: {text}");
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The floor has the gateway's threads; the generator has one, so that it does not push the server aside.
    let mut runtime = match cli.command {
        Command::Floor { .. } => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let result = runtime.enable_all().build().map_err(Error::from).and_then(|runtime| runtime.block_on(run(cli)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// False when something was missed that has to be met.
async fn run(cli: Cli) -> Result<bool> {
    if let Command::Floor { port, sizes } = &cli.command {
        floor::serve(*port, sizes).await?;
        return Ok(true);
    }
    more_files();
    let machine = server::machine();
    progress(&machine);
    let bench = Bench { which: which(&cli.global)?, global: cli.global.clone() };
    let mut figures = Vec::new();
    match cli.command {
        Command::Handshakes { connections } => figures.extend(bench.handshakes(connections).await?),
        Command::Rpc { method, connections, pipeline } => {
            figures.extend(bench.rpc(method, connections, pipeline).await?);
        }
        Command::Fanout { subscribers, window } => figures.extend(bench.fanout(subscribers, window).await?),
        Command::Idle { connections, hold } => {
            figures.extend(bench.idle(connections, Duration::from_secs_f64(hold)).await?);
        }
        Command::Slow { fast, stalled, bytes } => figures.extend(bench.slow(fast, stalled, bytes as usize).await?),
        Command::Reads { sessions, turns } => {
            let held = reads::Held { sessions: sessions as usize, turns: turns as usize };
            figures.extend(bench.reads(held).await?);
        }
        Command::State { sessions, turns } => figures.extend(bench.state(&sessions, turns as usize).await?),
        Command::Policies => figures.extend(bench.policies().await?),
        Command::Garbage { frames: count, connections, rate } => {
            figures.extend(bench.garbage(Flood { count, connections, rate }).await?);
        }
        Command::Start => figures.extend(bench.start().await?),
        Command::Curve { method, plot } => return bench.curve(method, plot).await,
        Command::Soak { minutes } => return bench.soak(minutes).await,
        Command::Churn { requests, connections, bound } => {
            return bench.churn(churn::Amount { requests, connections, bound }).await;
        }
        Command::All { frames } => {
            figures.extend(bench.start().await?);
            figures.extend(bench.handshakes(8).await?);
            figures.extend(bench.rpc(None, 8, None).await?);
            figures.extend(bench.fanout(None, None).await?);
            figures.extend(bench.slow(16, 4, 15_000).await?);
            figures.extend(bench.policies().await?);
            figures.extend(bench.garbage(Flood { count: frames, connections: 8, rate: None }).await?);
            figures.extend(bench.idle(10_000, Duration::from_secs(61)).await?);
        }
        Command::Floor { .. } => {}
    }
    let missed = figures.iter().filter(|f| f.met == Some(false)).count();
    if cli.global.json {
        let command = std::env::args().collect::<Vec<_>>().join(" ");
        let rounds = usize::from(cli.global.rounds);
        println!("{}", serde_json::to_string_pretty(&Report { machine, command, rounds, figures })?);
    } else {
        println!("{}", report::head());
        for figure in &figures {
            println!("{}", figure.line());
        }
        println!("{missed} targets missed");
    }
    Ok(missed == 0 || !cli.global.check)
}

/// As many open files as the system lets a process have: ten thousand connections are as many sockets.
fn more_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is refused, the idle load says what is missing.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn which(global: &Global) -> Result<Which> {
    if let (Some(addr), Some(token)) = (global.url, &global.token) {
        return Ok(Which::Running(addr, token.clone(), global.pid));
    }
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("openclaw"));
    let program = global.gateway.clone().or_else(beside).ok_or("where is the gateway? say it with --gateway")?;
    if !program.is_file() {
        let path = program.display();
        return Err(format!("no gateway at {path}: build it with `cargo build --release -p openclaw`").into());
    }
    if cfg!(debug_assertions) {
        progress("this is a debug build: its figures mean nothing");
    }
    Ok(Which::Program(program))
}

struct Bench {
    which: Which,
    global: Global,
}

/// A gateway and the floor of its sizes.
struct Both {
    gateway: Server,
    floor: Option<Server>,
}

impl Both {
    fn pair(&self) -> Pair<'_> {
        Pair { gateway: &self.gateway, floor: self.floor.as_ref() }
    }
    async fn stop(self) {
        self.gateway.stop().await;
        if let Some(floor) = self.floor {
            floor.stop().await;
        }
    }
}

impl Bench {
    fn rounds(&self) -> usize {
        usize::from(self.global.rounds)
    }
    fn window(&self) -> Duration {
        Duration::from_secs_f64(self.global.seconds)
    }

    async fn both(&self) -> Result<Both> {
        let gateway = self.which.start().await?;
        let floor = if self.global.no_floor { None } else { Some(Server::floor(&gateway.sizes().await?).await?.0) };
        Ok(Both { gateway, floor })
    }

    async fn handshakes(&self, connections: usize) -> Result<Vec<Figure>> {
        let both = self.both().await?;
        let mut figures = Vec::new();
        for (name, device) in [("token", false), ("device signature", true)] {
            let load = format!("handshakes, {name}, {connections} at a time");
            progress(&load);
            let sample = async |server: &Server| handshakes::run(server, connections, self.window(), device).await;
            let rounds = both.pair().rounds(self.rounds(), sample).await?;
            let target = if device { Target::None } else { Target::RatioAtLeast(0.6) };
            figures.extend(Figure::of_rounds(&load, "handshakes", &rounds, target, Target::None));
        }
        both.stop().await;
        Ok(figures)
    }

    async fn rpc(&self, method: Option<Request>, connections: usize, depth: Option<usize>) -> Result<Vec<Figure>> {
        let both = self.both().await?;
        let standard = vec![Request::Health, Request::SystemPresence, Request::LastHeartbeat];
        let mut figures = Vec::new();
        for request in method.map_or(standard, |m| vec![m]) {
            for depth in depth.map_or(vec![1, 16], |d| vec![d]) {
                let load = format!("rpc {}, {connections} x {depth}", request.method());
                progress(&load);
                let sample = async |server: &Server| {
                    let sample = rpc::run(server, request, connections, Pace::Pipeline(depth), self.window()).await?;
                    sample.ok_or_else(|| Error::from("the pace was not kept"))
                };
                let rounds = both.pair().rounds(self.rounds(), sample).await?;
                let judged = depth == 16 && matches!(request, Request::Health | Request::SystemPresence);
                let (rate, p99) = if judged {
                    (Target::RatioAtLeast(0.5), Target::RatioAtMost(3.0))
                } else {
                    (Target::None, Target::None)
                };
                figures.extend(Figure::of_rounds(&load, "requests", &rounds, rate, p99));
            }
        }
        both.stop().await;
        Ok(figures)
    }

    async fn fanout(&self, subscribers: Option<usize>, ahead: Option<usize>) -> Result<Vec<Figure>> {
        let both = self.both().await?;
        let mut figures = Vec::new();
        for size in subscribers.map_or(vec![10, 100, 1000], |n| vec![n]) {
            for ahead in ahead.map_or(vec![1, 8], |n| vec![n]) {
                let load = format!("fan-out to {size}, {ahead} events under way");
                progress(&load);
                let sample = async |server: &Server| {
                    let mut audience = fanout::Audience::gather(server, size).await?;
                    let frame = Request::Event.frame();
                    audience.run(server, &frame, ahead, self.window() / 8).await?;
                    let sample = audience.run(server, &frame, ahead, self.window()).await?;
                    audience.leave().await;
                    Ok(sample)
                };
                let rounds = both.pair().rounds(self.rounds(), sample).await?;
                let (rate, p99) = (Target::RatioAtLeast(0.7), Target::RatioAtMost(2.0));
                figures.extend(Figure::of_rounds(&load, "deliveries", &rounds, rate, p99));
            }
        }
        both.stop().await;
        Ok(figures)
    }

    /// A fresh process for each: memory that once was used is seldom given back.
    async fn fresh<S>(&self, rounds: usize, sample: impl AsyncFn(&Server) -> Result<S>) -> Result<Rounds<S>> {
        let mut out = Rounds { gateway: vec![], floor: vec![] };
        for _ in 0..rounds {
            let both = self.both().await?;
            let one = both.pair().rounds(1, &sample).await?;
            out.gateway.extend(one.gateway);
            out.floor.extend(one.floor);
            both.stop().await;
        }
        Ok(out)
    }

    async fn idle(&self, connections: usize, hold: Duration) -> Result<Vec<Figure>> {
        let load = format!("idle, {connections} connections");
        progress(&load);
        let rounds = self.fresh(1, async |server: &Server| idle::run(server, connections, hold).await).await?;
        let figure = |what: &str, f: fn(&idle::Idle) -> f64, target: Target| {
            let values = |idle: &[idle::Idle]| idle.iter().map(f).collect::<Vec<_>>();
            Figure::new(&load, what, &values(&rounds.gateway), &values(&rounds.floor), target)
        };
        Ok(vec![
            figure("base resident KiB", |i| i.base_kib, Target::AtMost(15.0 * 1024.0)),
            figure("KiB per connection", |i| i.kib_each, Target::AtMost(16.0)),
            figure("CPU % of a core", |i| i.cpu_percent, Target::AtMost(1.0)),
            figure("seconds to connect", |i| i.connect_s, Target::None),
            figure("KiB left afterwards", |i| i.left_kib, Target::None),
        ])
    }

    /// The floor is left out: its events have one size.
    async fn slow(&self, fast: usize, stalled: usize, bytes: usize) -> Result<Vec<Figure>> {
        let load = format!("{stalled} stalled of {}, events of {bytes} B", fast + stalled);
        progress(&load);
        let readers = Readers { fast, stalled, bytes, budget: 1536 << 10 };
        let mut rounds = Vec::new();
        for _ in 0..self.rounds() {
            let gateway = self.which.start().await?;
            rounds.push(slow::run(&gateway, readers, self.window()).await?);
            gateway.stop().await;
        }
        Ok(slow::figures(&load, &rounds, Target::AtMost(5.0), Target::AtMost(readers.may_wait_kib())))
    }

    async fn reads(&self, held: reads::Held) -> Result<Vec<Figure>> {
        let load = format!("everything at once, {} sessions of {} turns", held.sessions, held.turns);
        progress(&load);
        let gateway = self.which.start().await?;
        reads::seed(&gateway, held).await?;
        let mut rounds = Vec::new();
        for _ in 0..self.rounds() {
            rounds.push(reads::run(&gateway, held, self.window()).await?);
        }
        gateway.stop().await;
        // A client that asks for everything may cost the others this much (F55).
        Ok(reads::figures(&load, &rounds, 5.0))
    }

    async fn state(&self, sessions: &[u32], turns: usize) -> Result<Vec<Figure>> {
        let Which::Program(program) = &self.which else {
            return Err("state starts gateways on homes of its own: leave --url out".into());
        };
        let mut seen = Vec::new();
        for &sessions in sessions {
            let held = reads::Held { sessions: sessions as usize, turns };
            seen.push(state::run(program, held, self.rounds(), self.window()).await?);
        }
        Ok(state::figures(&seen))
    }

    async fn policies(&self) -> Result<Vec<Figure>> {
        let Which::Program(program) = &self.which else {
            return Err("policies starts gateways with limits of its own: leave --url out".into());
        };
        policies::run(program, self.rounds(), self.window()).await
    }

    async fn garbage(&self, flood: Flood) -> Result<Vec<Figure>> {
        let pace = flood.rate.map_or_else(String::new, |rate| format!(", {rate} a second"));
        let load = format!("garbage, {} first frames{pace}", flood.count);
        progress(&load);
        let sample = async |server: &Server| garbage::run(server, flood, self.window()).await;
        let rounds = self.fresh(self.rounds(), sample).await?;
        let figure = |what: &str, f: &dyn Fn(&garbage::Garbage) -> f64, target: Target| {
            let values = |list: &[garbage::Garbage]| list.iter().map(f).collect::<Vec<_>>();
            Figure::new(&load, what, &values(&rounds.gateway), &values(&rounds.floor), target)
        };
        let p = |sample: &Sample, percent: f64| sample.latencies.percentile(percent);
        Ok(vec![
            figure("refused/s", &|g| g.refused_per_s, Target::None),
            figure("server CPU us each", &|g| g.cpu_us, Target::None),
            figure("KiB grown", &|g| g.grown_kib, Target::AtMost(1024.0)),
            figure("good clients before: p50 ms", &|g| p(&g.good[0], 50.0), Target::None),
            figure("before: p99 ms", &|g| p(&g.good[0], 99.0), Target::None),
            figure("meanwhile: p50 ms", &|g| p(&g.good[1], 50.0), Target::None),
            figure("meanwhile: p99 ms", &|g| p(&g.good[1], 99.0), Target::None),
            figure("afterwards: p50 ms", &|g| p(&g.good[2], 50.0), Target::None),
            figure("p50 meanwhile / before", &|g| p(&g.good[1], 50.0) / p(&g.good[0], 50.0), Target::AtMost(1.1)),
            figure("p50 after / before", &|g| p(&g.good[2], 50.0) / p(&g.good[0], 50.0), Target::AtMost(1.1)),
        ])
    }

    async fn start(&self) -> Result<Vec<Figure>> {
        let Which::Program(program) = &self.which else {
            return Err("start measures a program: leave --url out".into());
        };
        progress("start to first hello-ok");
        let home = Arc::new(tempfile::TempDir::new()?);
        let sizes = {
            let (gateway, _) = Server::gateway_in(program, &home, &json!({})).await?;
            let sizes = gateway.sizes().await?;
            gateway.stop().await;
            sizes
        };
        let mut figures = Vec::new();
        for (load, warm) in [("start to first hello-ok", true), ("the first start, with an empty home", false)] {
            let (mut took, mut cpu, mut stop) = ([vec![], vec![]], [vec![], vec![]], [vec![], vec![]]);
            // It is over in milliseconds: more rounds cost nothing.
            for _ in 0..4 * self.rounds() {
                for at in 0..=usize::from(!self.global.no_floor) {
                    let (server, started) = match (at, warm) {
                        (0, true) => Server::gateway_in(program, &home, &json!({})).await?,
                        (0, false) => Server::gateway(program, &json!({})).await?,
                        _ => Server::floor(&sizes).await?,
                    };
                    took[at].push(started.took.as_secs_f64() * 1e3);
                    cpu[at].push(started.cpu.as_secs_f64() * 1e3);
                    let ended = server.stop().await.ok_or("it did not stop")?;
                    stop[at].push(ended.as_secs_f64() * 1e3);
                }
            }
            let target = if warm { Target::RatioAtMost(5.0) } else { Target::None };
            figures.push(Figure::new(load, "ms", &took[0], &took[1], target));
            if warm {
                figures.push(Figure::new(load, "ms, 1/200 of 4600", &took[0], &[], Target::AtMost(4600.0 / 200.0)));
            }
            figures.push(Figure::new(load, "CPU ms", &cpu[0], &cpu[1], Target::None));
            figures.push(Figure::new(load, "ms to stop", &stop[0], &stop[1], Target::None));
        }
        Ok(figures)
    }

    async fn curve(&self, method: Request, plot: Option<PathBuf>) -> Result<bool> {
        let both = self.both().await?;
        let curves: Curves = curve::run(&both.pair(), method, self.rounds(), self.window()).await?;
        both.stop().await;
        if let Some(file) = plot {
            std::fs::write(&file, plot::svg(&format!("{}: latency over load", method.method()), &curves))
                .map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        }
        if self.global.json {
            println!("{}", serde_json::to_string_pretty(&curves)?);
        } else {
            println!("{:<8} {:>10} {:>9} {:>9}", "server", "requests/s", "p50 ms", "p99 ms");
            for (name, points) in [("gateway", &curves.gateway), ("floor", &curves.floor)] {
                for p in points {
                    println!("{name:<8} {:>10.0} {:>9.3} {:>9.3}", p.rate, p.p50_ms, p.p99_ms);
                }
            }
        }
        Ok(true)
    }

    async fn churn(&self, amount: churn::Amount) -> Result<bool> {
        let gateway = self.which.start().await?;
        let churn = churn::run(&gateway, amount).await?;
        gateway.stop().await;
        if self.global.json {
            println!("{}", serde_json::to_string_pretty(&churn)?);
        } else {
            println!(
                "{} requests ({} of them turns) and {} connections in {:.1} s: {} KiB at first, {} KiB in the end, {:+.1} % \
                 (allowed {} %): {}",
                churn.requests,
                churn.turns,
                churn.connections,
                churn.seconds,
                churn.base_kib,
                churn.end_kib,
                churn.grown_percent,
                churn.bound_percent,
                if churn.is_bounded() { "bounded" } else { "GREW" },
            );
        }
        Ok(churn.is_bounded())
    }

    async fn soak(&self, minutes: f64) -> Result<bool> {
        let gateway = self.which.start().await?;
        let soak = soak::run(&gateway, Duration::from_secs_f64(minutes * 60.0)).await?;
        let stopped = gateway.stop().await;
        if self.global.json {
            println!("{}", serde_json::to_string_pretty(&soak)?);
        } else {
            let requests: u64 = soak.stretches.iter().map(|s| s.requests).sum();
            println!(
                "{requests} requests, {} visits, {} events seen, {} chat turns, {} faults injected; stopped in {stopped:?}",
                soak.visits, soak.events, soak.chats, soak.injected
            );
            for problem in &soak.problems {
                println!("PROBLEM {problem}");
            }
            println!("{}", if soak.problems.is_empty() { "flat and without errors" } else { "not passed" });
        }
        Ok(soak.problems.is_empty())
    }
}
