//! Ports that nobody uses.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// A gateway uses its port and a few above it (D1, D3).
const BLOCK: u16 = 10;
/// Below the range from which the system takes the ports of outgoing connections.
const FIRST: u16 = 20_000;
const BLOCKS: u16 = 1_000;

/// The first of ten ports in a row that can be bound on 127.0.0.1 right now and that no other caller in this process got.
///
/// # Panics
/// When there is no such block.
pub fn free_port_block() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time start at different places.
    let start = (std::process::id() * 37 % u32::from(BLOCKS)) as u16;
    for _ in 0..BLOCKS {
        let block = (start + NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
        let port = FIRST + block * BLOCK;
        if (port..port + BLOCK).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return port;
        }
    }
    panic!("no ten free ports in a row between {FIRST} and {}", FIRST + BLOCKS * BLOCK);
}
