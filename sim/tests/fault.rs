//! The faults that a link can have, one by one; and what turmoil's own TCP gets wrong (reference: simulation, 2) is right
//! here.

// outside of the gateway: tests of the simulator
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_types, clippy::disallowed_methods)]
#![allow(clippy::naive_bytecount, clippy::duration_suboptimal_units, clippy::large_stack_arrays)]

use std::{
    io::ErrorKind,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use openclaw_platform::{Entropy as _, Transport as _};
use sim::{
    SimEntropy,
    fault::{DEFAULT_WINDOW, Direction, FaultStream, HostTransport, LinkControl, Links, SimNet},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};

const LONG: Duration = Duration::from_secs(300);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn link() -> Arc<LinkControl> {
    LinkControl::new(Arc::new(SimEntropy::new(7)))
}

fn pair() -> (Arc<LinkControl>, FaultStream, FaultStream) {
    let link = link();
    let (a, b) = FaultStream::pair(link.clone());
    (link, a, b)
}

/// Nothing happens on it, however long one waits.
async fn hangs<T>(future: impl Future<Output = T>) -> bool {
    timeout(LONG, future).await.is_err()
}

async fn read_exactly(stream: &mut FaultStream, n: usize) -> Vec<u8> {
    let mut buffer = vec![0; n];
    stream.read_exact(&mut buffer).await.unwrap();
    buffer
}

#[tokio::test(start_paused = true)]
async fn the_window_counts_bytes_whatever_the_writes() {
    for size in [1, 7, 1000, 5000] {
        let (link, mut a, mut b) = pair();
        link.window(1000);
        let mut written = 0;
        while let Ok(n) = timeout(ms(1), a.write(&vec![b'x'; size])).await {
            written += n.unwrap();
        }
        assert_eq!(written, 1000, "writes of {size}");
        read_exactly(&mut b, 300).await;
        assert_eq!(a.write(&[b'y'; 1000]).await.unwrap(), 300);
        assert!(hangs(a.write(b"z")).await);
        link.window(1001);
        assert_eq!(a.write(b"zz").await.unwrap(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocked_writer_goes_on_when_the_reader_reads() {
    let (_, mut a, mut b) = pair();
    let data: Vec<u8> = (0..=255).cycle().take(10 * DEFAULT_WINDOW).collect();
    let sent = data.clone();
    let writer = async move {
        a.write_all(&sent).await.unwrap();
        a.shutdown().await.unwrap();
        a
    };
    let mut got = Vec::new();
    let (_a, end) = tokio::join!(writer, b.read_to_end(&mut got));
    assert_eq!((end.unwrap(), got == data), (data.len(), true));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_stream_arrives_behind_a_full_window() {
    let (link, mut a, mut b) = pair();
    link.window(64);
    for _ in 0..64 {
        a.write_all(b"x").await.unwrap();
    }
    a.shutdown().await.unwrap();
    drop(a);
    tokio::time::sleep(LONG).await;
    let mut got = Vec::new();
    assert_eq!(b.read_to_end(&mut got).await.unwrap(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_writer_on_a_full_window_is_woken_when_its_peer_goes() {
    let (link, mut a, mut b) = pair();
    link.window(10);
    a.write_all(&[0; 10]).await.unwrap();
    let peer = async move {
        tokio::time::sleep(ms(50)).await;
        // Nine bytes unread: a reset.
        b.read_u8().await.unwrap();
        drop(b);
    };
    let (written, ()) = tokio::join!(a.write_all(&[0; 20]), peer);
    assert_eq!(written.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_reset_wakes_whoever_waits_at_either_end() {
    let (link, mut a, mut b) = pair();
    link.window(10);
    a.write_all(&[0; 10]).await.unwrap();
    b.write_all(b"unseen").await.unwrap();
    let (mut a_read, mut a_write) = tokio::io::split(a);
    a_read.read_exact(&mut [0; 6]).await.unwrap();
    let deed = async {
        tokio::time::sleep(ms(5)).await;
        link.reset();
    };
    let (read, written, ()) = tokio::join!(a_read.read_u8(), a_write.write_all(b"x"), deed);
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(written.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(b.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(b.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_stall_holds_everything_and_loses_nothing() {
    let (link, mut a, mut b) = pair();
    link.stall(true);
    a.write_all(b"one ").await.unwrap();
    a.write_all(b"two").await.unwrap();
    a.shutdown().await.unwrap();
    assert!(hangs(b.read_u8()).await);
    let (got, ()) = tokio::join!(read_exactly(&mut b, 7), async { link.stall(false) });
    assert_eq!(got, b"one two");
    assert_eq!(b.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stall_of_one_direction_leaves_the_other() {
    let (link, mut a, mut b) = pair();
    link.stall_one(Direction::Up, true);
    a.write_all(b"up").await.unwrap();
    b.write_all(b"down").await.unwrap();
    assert_eq!(read_exactly(&mut a, 4).await, b"down");
    assert!(hangs(b.read_u8()).await);
    assert_eq!(a.write(&[0; 2 * DEFAULT_WINDOW]).await.unwrap(), DEFAULT_WINDOW - 2);
    assert!(hangs(a.write(b"x")).await);
}

#[tokio::test(start_paused = true)]
async fn half_open_is_silence_without_an_error() {
    let (link, mut a, mut b) = pair();
    link.half_open();
    assert_eq!(a.write(&[0; 2 * DEFAULT_WINDOW]).await.unwrap(), DEFAULT_WINDOW);
    assert!(hangs(a.write(b"x")).await);
    link.heal();
    assert!(hangs(b.read_u8()).await, "what was silenced stays silent");
    drop(a);
    assert!(hangs(b.read_u8()).await, "not even the end arrives");
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_both_directions_behind_what_is_in_flight() {
    let (link, mut a, mut b) = pair();
    link.latency(ms(100));
    a.write_all(b"up").await.unwrap();
    b.write_all(b"down").await.unwrap();
    link.cut();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    b.read_to_end(&mut up).await.unwrap();
    a.read_to_end(&mut down).await.unwrap();
    assert_eq!((up.as_slice(), down.as_slice()), (b"up".as_slice(), b"down".as_slice()));
    // As with a socket that nobody has any more: the first write is taken, then comes the answer.
    a.write_all(b"x").await.unwrap();
    tokio::time::sleep(ms(300)).await;
    assert_eq!(a.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_rate_lets_bytes_trickle() {
    let (link, mut a, mut b) = pair();
    link.rate(Some(10_000));
    let start = Instant::now();
    a.write_all(&[0; 20_000]).await.unwrap();
    read_exactly(&mut b, 5_000).await;
    let half = start.elapsed();
    assert!((ms(490)..ms(560)).contains(&half), "{half:?}");
    read_exactly(&mut b, 15_000).await;
    let all = start.elapsed();
    assert!((ms(1990)..ms(2060)).contains(&all), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_arrives_when_the_rate_ends() {
    let (link, mut a, mut b) = pair();
    link.rate(Some(1000));
    let start = Instant::now();
    a.write_all(&[0; 20_000]).await.unwrap();
    a.shutdown().await.unwrap();
    read_exactly(&mut b, 1_000).await;
    let end = async {
        tokio::time::sleep(ms(500)).await;
        link.rate(None);
    };
    tokio::join!(read_exactly(&mut b, 19_000), end);
    assert_eq!(b.read(&mut [0; 1]).await.unwrap(), 0, "and the end of the stream");
    assert!((ms(1490)..ms(1600)).contains(&start.elapsed()), "{:?}", start.elapsed());
    b.write_all(b"back").await.unwrap();
    assert_eq!(read_exactly(&mut a, 4).await, b"back");
}

#[tokio::test(start_paused = true)]
async fn latency_delays_and_keeps_the_order() {
    let (link, mut a, mut b) = pair();
    let start = Instant::now();
    link.latency(ms(200));
    a.write_all(b"1").await.unwrap();
    link.latency(ms(0));
    a.write_all(b"2").await.unwrap();
    assert_eq!(read_exactly(&mut b, 2).await, b"12");
    assert!(start.elapsed() >= ms(200));
}

#[tokio::test(start_paused = true)]
async fn chunks_split_at_points_that_the_seed_chooses() {
    async fn reads(seed: u64) -> Vec<usize> {
        let link = LinkControl::new(Arc::new(SimEntropy::new(seed)));
        link.chunk(Some(10));
        let (mut a, mut b) = FaultStream::pair(link);
        a.write_all(&[0; 100]).await.unwrap();
        drop(a);
        let mut sizes = Vec::new();
        loop {
            match b.read(&mut [0; 64]).await.unwrap() {
                0 => return sizes,
                n => sizes.push(n),
            }
        }
    }
    let sizes = reads(1).await;
    assert_eq!(sizes.iter().sum::<usize>(), 100);
    assert!(sizes.iter().all(|n| (1..=10).contains(n)) && sizes.len() > 10, "{sizes:?}");
    assert_eq!(reads(1).await, sizes);
    assert_ne!(reads(2).await, sizes);
}

#[tokio::test(start_paused = true)]
async fn any_stream_can_be_wrapped() {
    let link = link();
    let (inner, mut far) = tokio::io::duplex(100);
    let mut near = FaultStream::new(Box::new(inner), link.clone());
    near.write_all(b"there").await.unwrap();
    let mut got = [0; 5];
    far.read_exact(&mut got).await.unwrap();
    far.write_all(b"back").await.unwrap();
    assert_eq!((&got, read_exactly(&mut near, 4).await.as_slice()), (b"there", b"back".as_slice()));
    link.stall(true);
    far.write_all(b"late").await.unwrap();
    assert!(hangs(near.read_u8()).await);
    link.stall(false);
    assert_eq!(read_exactly(&mut near, 4).await, b"late");
    drop(far);
    assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
}

/// A simulation of one task with two machines.
fn simulate<F: Future<Output = ()> + 'static>(test: impl FnOnce(Arc<SimNet>, HostTransport, HostTransport) -> F) {
    let links = Links::simulated(SimEntropy::new(3).fork("network"), ms(5)..ms(20));
    let net = SimNet::new(links);
    let (server, client) = (net.transport("server", "server"), net.transport("machine", "client"));
    let mut sim = turmoil::Builder::new()
        .rng_seed(1)
        .epoch(UNIX_EPOCH)
        .tick_duration(ms(5))
        .simulation_duration(LONG * 24)
        .build();
    let run = test(net, server, client);
    sim.client("test", async move {
        run.await;
        Ok(())
    });
    sim.run().unwrap();
}

const ANY: ([u8; 4], u16) = ([0, 0, 0, 0], 80);

#[test]
fn refused_connects_cost_no_port() {
    simulate(|_, _, client| async move {
        // More than a machine has ports.
        for _ in 0..100 {
            let connects = (0..700).map(|_| client.connect("server", 80));
            for refused in futures_util::future::join_all(connects).await {
                assert_eq!(refused.err().unwrap().kind(), ErrorKind::ConnectionRefused);
            }
        }
    });
}

#[test]
fn a_full_backlog_makes_connects_wait() {
    simulate(|_, server, client| async move {
        let mut listener = server.bind(ANY.into()).await.unwrap();
        let connect = |_| async {
            let start = Instant::now();
            (client.connect("server", 80).await.unwrap(), start.elapsed())
        };
        let all = futures_util::future::join_all((0..200).map(connect));
        let accept = async {
            tokio::time::sleep(ms(500)).await;
            let mut streams = Vec::new();
            while let Ok(Ok((stream, _))) = timeout(ms(10_000), listener.accept()).await {
                streams.push(stream);
            }
            streams
        };
        let (connected, accepted) = tokio::join!(all, accept);
        assert_eq!((connected.len(), accepted.len()), (200, 200));
        let late = connected.iter().filter(|(_, took)| *took > ms(1000)).count();
        assert_eq!(late, 200 - 128, "those beyond the backlog come by their second SYN");
    });
}

#[test]
fn a_process_that_is_gone_refuses_and_ends_its_connections() {
    simulate(|_, server, client| async move {
        let mut listener = server.bind(ANY.into()).await.unwrap();
        let (opened, accepted) = tokio::join!(client.connect("server", 80), listener.accept());
        let (mut opened, (mut accepted, peer)) = (opened.unwrap(), accepted.unwrap());
        assert_eq!(peer.ip().to_string(), "10.0.0.2");
        accepted.write_all(b"last words").await.unwrap();
        drop(accepted);
        drop(listener);
        let mut got = Vec::new();
        opened.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last words");
        let start = Instant::now();
        assert_eq!(client.connect("server", 80).await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        assert!((ms(10)..ms(50)).contains(&start.elapsed()), "after a round trip");
    });
}

#[test]
fn a_machine_without_power_is_silent_and_comes_back_without_memory() {
    simulate(|net, server, client| async move {
        let mut listener = server.bind(ANY.into()).await.unwrap();
        let (opened, accepted) = tokio::join!(client.connect("server", 80), listener.accept());
        let mut opened = opened.unwrap();
        net.power_off("server");
        drop((accepted, listener));
        opened.write_all(b"anybody?").await.unwrap();
        assert!(hangs(opened.read_u8()).await);
        let start = Instant::now();
        assert_eq!(client.connect("server", 80).await.err().unwrap().kind(), ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 127);

        net.power_on("server");
        let _listener = server.bind(ANY.into()).await.unwrap();
        assert!(client.connect("server", 80).await.is_ok());
        opened.write_all(b"anybody?").await.unwrap();
        assert_eq!(opened.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

/// A process that dies in the middle of something runs on until its host is taken away.
#[test]
fn a_frozen_process_is_not_heard_until_it_is_gone() {
    simulate(|net, server, client| async move {
        let mut listener = server.bind(ANY.into()).await.unwrap();
        let (opened, accepted) = tokio::join!(client.connect("server", 80), listener.accept());
        let (mut opened, (mut accepted, _)) = (opened.unwrap(), accepted.unwrap());
        accepted.write_all(b"before").await.unwrap();
        opened.write_all(b"question").await.unwrap();
        net.freeze("server");
        accepted.write_all(b"after").await.unwrap();
        accepted.shutdown().await.unwrap();
        assert!(hangs(accepted.read_u8()).await);
        let mut heard = [0; 6];
        opened.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"before");
        assert!(hangs(opened.read_u8()).await);
        drop(accepted);
        assert!(hangs(opened.read_u8()).await, "its end is not seen before the process is gone");
        net.thaw("server");
        assert_eq!(opened.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset, "with data unread");
        assert!(client.connect("server", 80).await.is_ok());
    });
}

#[test]
fn faults_of_a_link_hold_for_connects_too() {
    simulate(|net, server, client| async move {
        let _listener = server.bind(ANY.into()).await.unwrap();
        let other = net.transport("machine", "other");
        let link = net.links().link("client", "server");
        link.refuse(true);
        assert_eq!(client.connect("server", 80).await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        assert!(other.connect("server", 80).await.is_ok(), "another's link");
        link.refuse(false);
        link.stall(true);
        let heal = async {
            tokio::time::sleep(ms(2500)).await;
            link.heal();
        };
        let start = Instant::now();
        let (connected, ()) = tokio::join!(client.connect("server", 80), heal);
        assert!(connected.is_ok());
        // SYNs at 0, 1 and 3 seconds.
        assert!((ms(3000)..ms(3100)).contains(&start.elapsed()), "{:?}", start.elapsed());
    });
}

#[test]
fn addresses_are_those_of_a_small_network() {
    simulate(|net, server, client| async move {
        let mut listener = server.bind(([127, 0, 0, 1], 80).into()).await.unwrap();
        assert_eq!(server.bind(ANY.into()).await.err().unwrap().kind(), ErrorKind::AddrInUse);
        assert!(server.bind("[::1]:80".parse().unwrap()).await.is_err());
        assert!(server.bind(([10, 9, 9, 9], 80).into()).await.is_err());
        assert!(client.connect("server", 80).await.is_err(), "only its own machine reaches a loopback listener");
        assert!(client.connect("nowhere", 80).await.is_err());
        // The far end of an SSH tunnel.
        let exit = net.transport("server", "tunnel");
        let (opened, accepted) = tokio::join!(exit.connect("localhost", 80), listener.accept());
        assert!(opened.is_ok() && accepted.unwrap().1.ip().is_loopback());
        drop(listener);
        assert!(server.bind(ANY.into()).await.is_ok());
    });
}

/// Real sockets of this machine.
mod real {
    use sim::fault::LoopbackNet;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn net() -> (Arc<LoopbackNet>, Arc<Links>) {
        let links = Links::real(Arc::new(SimEntropy::new(1)));
        (LoopbackNet::new(links.clone()), links)
    }

    #[tokio::test]
    async fn resets_cuts_and_stalls_reach_the_socket() {
        let (net, links) = net();
        let (transport, link) = (net.transport("machine", "client", None), links.link("client", "server"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(transport.connect("server", 80).await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        net.publish("server", 80, listener.local_addr().unwrap().port());
        let connected = || async {
            let (near, far) = tokio::join!(transport.connect("server", 80), listener.accept());
            (near.unwrap(), far.unwrap().0)
        };

        let (mut near, mut far) = connected().await;
        near.write_all(b"there").await.unwrap();
        far.read_exact(&mut [0; 5]).await.unwrap();
        link.stall(true);
        near.write_all(b"late").await.unwrap();
        assert!(timeout(ms(100), far.read_u8()).await.is_err());
        link.stall(false);
        far.read_exact(&mut [0; 4]).await.unwrap();
        link.reset();
        assert_eq!(far.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(near.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);

        let (mut near, mut far) = connected().await;
        near.write_all(b"there").await.unwrap();
        link.cut();
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!((got.as_slice(), near.read(&mut [0]).await.unwrap()), (b"there".as_slice(), 0));
    }

    #[tokio::test]
    async fn an_accepted_connection_has_faults_too() {
        let (net, links) = net();
        let transport = net.transport("telegram", "telegram", Some("gateway"));
        let mut listener = transport.bind(ANY.into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        assert!(addr.ip().is_loopback());
        assert_eq!(net.real_port("telegram", 80), Some(addr.port()));
        let (far, near) = tokio::join!(TcpStream::connect(addr), listener.accept());
        let (mut far, mut near) = (far.unwrap(), near.unwrap().0);
        far.write_all(b"hello").await.unwrap();
        near.read_exact(&mut [0; 5]).await.unwrap();
        links.link("gateway", "telegram").reset();
        assert_eq!(far.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
