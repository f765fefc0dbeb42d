//! Lines to stdout by a thread of their own: a reader that stalls must not stall the gateway.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

/// Lines that may wait.
const QUEUE: usize = 4096;

enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

/// Where lines go.
pub struct Console {
    queue: SyncSender<Message>,
    lost: AtomicU64,
}

impl Console {
    /// Starts the thread that writes to `out`.
    pub fn start(out: impl std::io::Write + Send + 'static) -> Self {
        let (queue, lines) = sync_channel(QUEUE);
        // A thread, not a task: logging begins before and ends after the runtime.
        #[allow(clippy::disallowed_methods)]
        std::thread::spawn(move || write_all(&lines, out));
        Self { queue, lost: AtomicU64::new(0) }
    }

    /// Queues `line`; when the reader is too slow the line is dropped and counted.
    pub fn line(&self, line: String) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let line = if lost > 0 { format!("... {lost} lines lost, stdout is not read\n{line}") } else { line };
        if matches!(self.queue.try_send(Message::Line(line)), Err(TrySendError::Full(_))) {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }

    /// Waits until everything queued is written, at most about a second.
    pub fn flush(&self) {
        const TRIES: u32 = 100;
        let (done, wait) = sync_channel(1);
        for _ in 0..TRIES {
            match self.queue.try_send(Message::Flush(done.clone())) {
                Ok(()) => {
                    let _ = wait.recv_timeout(Duration::from_secs(1));
                    return;
                }
                // `wait` hears nothing yet, so this is a short pause.
                Err(TrySendError::Full(_)) => drop(wait.recv_timeout(Duration::from_millis(10))),
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}

fn write_all(lines: &Receiver<Message>, mut out: impl std::io::Write) {
    for message in lines {
        match message {
            // A closed stdout is no reason to stop: the file has the lines.
            Message::Line(line) => drop(out.write_all(line.as_bytes()).and_then(|()| out.flush())),
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

/// Stdout, locked per write only.
pub struct Stdout;

impl std::io::Write for Stdout {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        std::io::stdout().write(buf)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stdout().lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Waits for the gate before each write.
    struct Slow(Arc<Mutex<()>>, Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Slow {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            let _gate = self.0.lock().unwrap();
            self.1.lock().unwrap().extend_from_slice(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn f03_a_reader_that_stalls_costs_lines_not_the_gateway() {
        let (gate, written) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(vec![])));
        let console = Console::start(Slow(gate.clone(), written.clone()));
        let closed = gate.lock().unwrap();
        for i in 0..QUEUE + 100 {
            console.line(format!("{i}\n"));
        }
        drop(closed);
        console.flush();
        console.line("after\n".to_owned());
        console.flush();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("0\n1\n") && text.contains("lines lost") && text.ends_with("after\n"), "{text}");
    }
}
