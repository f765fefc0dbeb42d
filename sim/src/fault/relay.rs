//! Between the far end of a faulty connection and a stream of somebody else's.

use std::io;

use openclaw_platform::Io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::FaultStream;

/// Bytes copied at once, per direction.
const BUFFER: usize = 8 * 1024;

/// Copies both ways in a task of its own until both directions have ended or one has failed. A reset at the far end is
/// handed to `abort` together with the stream, an error of the stream becomes a reset at the far end.
pub(super) fn start<T: Io + 'static>(io: T, far: FaultStream, abort: impl FnOnce(T) + Send + 'static) {
    #[allow(clippy::disallowed_methods)] // part of the transport's seam
    tokio::spawn(run(io, far, abort));
}

/// Which side failed.
enum Failed {
    Stream,
    Far,
}

async fn run<T: Io>(io: T, far: FaultStream, abort: impl FnOnce(T)) {
    let (mut io_read, mut io_write) = tokio::io::split(io);
    let (mut far_read, mut far_write) = tokio::io::split(far);
    let out = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = far_read.read(&mut buffer).await.map_err(|_| Failed::Far)?;
            let done: io::Result<()> =
                if n == 0 { io_write.shutdown().await } else { io_write.write_all(&buffer[..n]).await };
            done.map_err(|_| Failed::Stream)?;
            if n == 0 {
                return Ok::<(), Failed>(());
            }
        }
    };
    let back = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = io_read.read(&mut buffer).await.map_err(|_| Failed::Stream)?;
            let done: io::Result<()> =
                if n == 0 { far_write.shutdown().await } else { far_write.write_all(&buffer[..n]).await };
            done.map_err(|_| Failed::Far)?;
            if n == 0 {
                return Ok::<(), Failed>(());
            }
        }
    };
    let ended = futures_util::future::try_join(out, back).await;
    match ended {
        Ok(_) => {}
        Err(Failed::Stream) => far_read.unsplit(far_write).abort(),
        Err(Failed::Far) => abort(io_read.unsplit(io_write)),
    }
}
