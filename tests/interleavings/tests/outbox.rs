//! What one connection is sent: pushed on many threads, written by one.

use std::sync::Arc;

use interleavings::explore;
use openclaw_protocol::{event::AGENT, frame::EventBody};
use openclaw_server::outbox::{Close, Frame, Outbox};
use shuttle::{future::block_on, thread};

/// Writes until the close order, as a connection does; what went out, and after how many frames the order came.
fn written(outbox: &Outbox, batch: usize) -> Vec<Frame> {
    let mut out = Vec::new();
    block_on(async {
        loop {
            let before = out.len();
            let close = outbox.take(batch, &mut out);
            match close {
                Some(_) => return,
                None if out.len() == before => outbox.ready().await,
                None => {}
            }
        }
    });
    out
}

fn event(outbox: &Outbox) {
    let body = EventBody::new("agent", &serde_json::json!({}), None).expect("it can be encoded");
    outbox.event(&AGENT, &Arc::new(body), false);
}

/// The texts that begin with `of`, in the order in which they went out.
fn texts(out: &[Frame], of: &str) -> Vec<String> {
    let text = |frame: &Frame| match frame {
        Frame::Own(text) if text.starts_with(of) => Some(text.clone()),
        _ => None,
    };
    out.iter().filter_map(text).collect()
}

fn numbers(out: &[Frame]) -> Vec<u64> {
    let number = |frame: &Frame| if let Frame::Shared(_, n) = frame { *n } else { None };
    out.iter().filter_map(number).collect()
}

/// Nothing lost, doubled or reordered; the numbers of events count up; the bytes that wait end at none; nothing follows
/// the close order.
#[test]
fn f01_every_frame_goes_out_once_and_in_order() {
    explore(2000, || {
        let outbox = Arc::new(Outbox::new(1 << 20));
        let pushers: Vec<_> = ["a", "b"]
            .map(|name| {
                let outbox = outbox.clone();
                thread::spawn(move || {
                    for n in 0..3 {
                        outbox.push(format!("{name}{n}"));
                        event(&outbox);
                    }
                })
            })
            .into();
        let writer = {
            let outbox = outbox.clone();
            thread::spawn(move || written(&outbox, 4))
        };
        pushers.into_iter().for_each(|pusher| pusher.join().expect("no thread panics"));
        outbox.close(Close::new(1000, "done"));
        let out = writer.join().expect("no thread panics");
        for name in ["a", "b"] {
            assert_eq!(texts(&out, name), (0..3).map(|n| format!("{name}{n}")).collect::<Vec<_>>());
        }
        assert_eq!(numbers(&out), (1..=6).collect::<Vec<_>>());
        assert_eq!(outbox.load(), (0, 0));
    });
}

/// A writer that sleeps is woken by what is queued, not by whatever comes after it.
#[test]
fn f01_no_frame_waits_for_the_next() {
    const PUSHES: [fn(&Outbox); 3] = [|outbox| outbox.push("a".to_owned()), event, Outbox::ping];
    explore(1000, || {
        for push in PUSHES {
            let outbox = Arc::new(Outbox::new(1 << 20));
            let writer = {
                let outbox = outbox.clone();
                thread::spawn(move || {
                    let mut out = Vec::new();
                    block_on(async {
                        while outbox.take(usize::MAX, &mut out).is_none() && out.is_empty() {
                            outbox.ready().await;
                        }
                    });
                })
            };
            push(&outbox);
            writer.join().expect("no thread panics");
        }
    });
}

/// A close that comes in between is the last thing that is written: all before it goes out, nothing after it.
#[test]
fn f03_what_was_queued_before_a_close_goes_out_and_nothing_after_it() {
    explore(2000, || {
        let outbox = Arc::new(Outbox::new(1 << 20));
        let pusher = {
            let outbox = outbox.clone();
            thread::spawn(move || {
                // What is pushed before the close was ordered has to go out.
                let mut due = 0;
                for n in 0..4 {
                    outbox.push(format!("a{n}"));
                    due += usize::from(!outbox.is_closing());
                }
                due
            })
        };
        let closer = {
            let outbox = outbox.clone();
            thread::spawn(move || outbox.close(Close::new(1000, "done")))
        };
        let out = texts(&written(&outbox, usize::MAX), "a");
        let due = pusher.join().expect("no thread panics");
        closer.join().expect("no thread panics");
        assert!(out.len() >= due, "{due} were due, {out:?} went out");
        assert_eq!(out, (0..out.len()).map(|n| format!("a{n}")).collect::<Vec<_>>());
        assert_eq!((outbox.load(), outbox.take(usize::MAX, &mut vec![]).map(|close| close.code)), ((0, 0), Some(1000)));
    });
}

/// A connection that is closed is told so, whenever it began to wait for that.
#[test]
fn f03_who_waits_for_a_close_hears_of_it() {
    explore(500, || {
        let outbox = Arc::new(Outbox::new(1 << 20));
        let waiter = {
            let outbox = outbox.clone();
            thread::spawn(move || block_on(outbox.closing()))
        };
        outbox.close(Close::new(1000, "done"));
        waiter.join().expect("no thread panics");
    });
}

/// Over the budget, what may be lost is withheld; what went out and what was withheld is all that there was.
#[test]
fn f01_a_gap_is_as_wide_as_the_loss() {
    explore(1000, || {
        let outbox = Arc::new(Outbox::new(120));
        let pushers: Vec<_> = [0, 1]
            .map(|_| {
                let outbox = outbox.clone();
                thread::spawn(move || {
                    let body = EventBody::new("tick", &serde_json::json!({ "ts": 1 }), None);
                    let body = Arc::new(body.expect("it can be encoded"));
                    (0..3).for_each(|_| outbox.event(&openclaw_protocol::event::TICK, &body, false));
                })
            })
            .into();
        let writer = {
            let outbox = outbox.clone();
            thread::spawn(move || written(&outbox, 1))
        };
        pushers.into_iter().for_each(|pusher| pusher.join().expect("no thread panics"));
        outbox.close(Close::new(1000, "done"));
        let out = numbers(&writer.join().expect("no thread panics"));
        assert!(out.is_sorted_by(|a, b| a < b), "{out:?}");
        assert_eq!(out.len() as u64 + outbox.load().1, 6, "{out:?}");
    });
}
