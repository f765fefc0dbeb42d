//! A connection that comes back: back-off with jitter, a new sequence each time, and no retry where retrying is wrong.

use std::{pin::Pin, time::Duration};

use openclaw_platform::{BoxFuture, Entropy, Mono, Platform};
use serde_json::Value;

use crate::{
    closed::Closed,
    connect::ConnectError,
    connection::Client,
    event::{ClientEvent, RawEvent},
    options::ConnectOptions,
    reconnect_delay::ReconnectDelay,
};

/// A connection that lived this long was stable: the back-off starts over.
const STABLE: Duration = Duration::from_secs(30);

/// What a [`Session`] reports.
#[derive(Debug)]
pub enum SessionEvent {
    /// Connected: the payload of hello-ok. A snapshot replaces what was known, and numbering starts anew (F02).
    Connected(Value),
    /// An event.
    Event(RawEvent),
    /// The gateway withheld events.
    Gap {
        /// The number after the last one seen.
        expected: u64,
        /// The number that arrived.
        got: u64,
    },
    /// This side was too slow; that many events were dropped from its own queue.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The connection ended; the next attempt follows after `retry_in`.
    Disconnected {
        /// How.
        closed: Closed,
        /// The wait.
        retry_in: Duration,
    },
    /// An attempt failed; the next one follows after `retry_in`.
    Failed {
        /// Why.
        error: ConnectError,
        /// The wait.
        retry_in: Duration,
    },
    /// No further attempt is made; the last event of a session.
    Stopped(Stopped),
}

/// Why a session gave up.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Stopped {
    /// Trying again would give the same answer (F15).
    #[error(transparent)]
    Refused(ConnectError),
    /// Another connection with this identity took over (D18); coming back would only throw that one out.
    #[error("replaced by another connection: {0}")]
    Replaced(Closed),
}

/// A reconnecting client, driven by [`Session::next`]: nothing happens between attempts unless it is awaited.
pub struct Session {
    platform: Platform,
    options: ConnectOptions,
    entropy: std::sync::Arc<dyn Entropy>,
    delay: ReconnectDelay,
    state: State,
}

enum State {
    /// Before an attempt.
    Waiting(Pin<Box<tokio::time::Sleep>>),
    Connecting(BoxFuture<'static, Result<Client, ConnectError>>),
    Connected {
        client: Client,
        since: Mono,
        /// From the shutdown event: when the gateway will be back.
        back_in: Option<Duration>,
    },
    Stopped,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Session {
    /// A session that makes its first attempt when [`Session::next`] is awaited.
    pub fn new(platform: &Platform, options: ConnectOptions) -> Self {
        Self {
            platform: platform.clone(),
            entropy: platform.entropy.fork("client-backoff"),
            delay: ReconnectDelay::new(),
            state: connecting(platform, &options),
            options,
        }
    }

    /// The current connection, for calls; none while there is none.
    pub fn client(&self) -> Option<&Client> {
        match &self.state {
            State::Connected { client, .. } if !client.is_closed() => Some(client),
            _ => None,
        }
    }

    /// What happened next; none after [`SessionEvent::Stopped`]. Cancel-safe: a cancelled attempt or wait goes on where
    /// it was.
    pub async fn next(&mut self) -> Option<SessionEvent> {
        loop {
            match &mut self.state {
                State::Waiting(sleep) => {
                    sleep.as_mut().await;
                    self.state = connecting(&self.platform, &self.options);
                }
                State::Connecting(attempt) => {
                    return Some(match attempt.await {
                        Ok(client) => self.connected(client),
                        Err(error) => self.failed(error),
                    });
                }
                State::Connected { client, back_in, .. } => {
                    let Some(event) = client.next_event().await else {
                        let closed = client.closed().await;
                        return Some(self.disconnected(closed));
                    };
                    return Some(match event {
                        ClientEvent::Event(event) => {
                            if event.event == "shutdown" {
                                *back_in = event.payload["restartExpectedMs"].as_u64().map(Duration::from_millis);
                            }
                            SessionEvent::Event(event)
                        }
                        ClientEvent::Gap { expected, got } => SessionEvent::Gap { expected, got },
                        ClientEvent::Lagged { missed } => SessionEvent::Lagged { missed },
                    });
                }
                State::Stopped => return None,
            }
        }
    }

    /// Closes the connection, if there is one, and ends the session.
    pub async fn close(&mut self) {
        if let State::Connected { client, .. } = std::mem::replace(&mut self.state, State::Stopped) {
            client.close().await;
        }
    }

    fn connected(&mut self, client: Client) -> SessionEvent {
        let hello = client.hello().clone();
        self.state = State::Connected { client, since: self.platform.clock.mono(), back_in: None };
        SessionEvent::Connected(hello)
    }

    fn failed(&mut self, error: ConnectError) -> SessionEvent {
        if !error.is_retryable() {
            self.state = State::Stopped;
            return SessionEvent::Stopped(Stopped::Refused(error));
        }
        let retry_in = self.delay.next(&*self.entropy);
        let asked = error.retry_after().map(|wait| ReconnectDelay::asked(wait, &*self.entropy));
        let retry_in = asked.map_or(retry_in, |asked| asked.max(retry_in));
        self.wait(retry_in);
        SessionEvent::Failed { error, retry_in }
    }

    fn disconnected(&mut self, closed: Closed) -> SessionEvent {
        let (since, back_in) = match &self.state {
            State::Connected { since, back_in, .. } => (Some(*since), *back_in),
            _ => (None, None),
        };
        if closed.code == 1008 && closed.reason.starts_with("replaced") {
            self.state = State::Stopped;
            return SessionEvent::Stopped(Stopped::Replaced(closed));
        }
        let now = self.platform.clock.mono();
        if since.is_some_and(|since| now.duration_since(since) >= STABLE) {
            self.delay.reset();
        }
        let retry_in = match back_in {
            Some(wait) => ReconnectDelay::asked(wait, &*self.entropy),
            None => self.delay.next(&*self.entropy),
        };
        self.wait(retry_in);
        SessionEvent::Disconnected { closed, retry_in }
    }

    fn wait(&mut self, wait: Duration) {
        self.state = State::Waiting(Box::pin(tokio::time::sleep(wait)));
    }
}

fn connecting(platform: &Platform, options: &ConnectOptions) -> State {
    let (platform, options) = (platform.clone(), options.clone());
    State::Connecting(Box::pin(async move { Client::connect(&platform, options).await }))
}
