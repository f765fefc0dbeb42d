//! Why a browser did not do what was asked.

/// For people and models; [`BrowserError::code`] is for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrowserError {
    /// `browser.enabled` is false.
    #[error("the browser is off: browser.enabled is false in the configuration")]
    Disabled,
    /// No such route.
    #[error("there is no {0}; docs/browser.md lists what there is")]
    NoRoute(String),
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The policy forbids it.
    #[error("{0}")]
    Refused(String),
    /// No Chromium on this machine.
    #[error(
        "no Chromium was found (looked for: {looked}). Install one (Debian: apt-get install chromium), or name its program in \
         browser.executablePath"
    )]
    NoChromium {
        /// Names and paths.
        looked: String,
    },
    /// It did not come up.
    #[error("{0}")]
    NoStart(String),
    /// The browser of this profile does not run.
    #[error("the browser of profile {0:?} is not running; start it first")]
    NotRunning(String),
    /// No such profile.
    #[error("there is no browser profile {0:?}; `openclaw browser profiles` lists them")]
    NoProfile(String),
    /// No such tab.
    #[error("there is no tab {0}; list the tabs")]
    NoTab(String),
    /// No such element in the last snapshot.
    #[error("{0:?} is no ref of the last snapshot of this tab; take a new snapshot")]
    NoRef(String),
    /// The browser refused, or the page failed.
    #[error("{0}")]
    Page(String),
    /// No answer in time.
    #[error("the browser did not answer within {0} ms")]
    Timeout(u128),
    /// The connection to it is gone.
    #[error("the connection to the browser is lost; start it again")]
    Lost,
    /// What is kept of profiles cannot be read or written.
    #[error("the browser profiles cannot be kept: {0}")]
    State(String),
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

impl BrowserError {
    /// One word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Disabled => "BROWSER_DISABLED",
            Self::NoRoute(_) => "NOT_FOUND",
            Self::Invalid(_) => "BAD_REQUEST",
            Self::Refused(_) => "REFUSED",
            Self::NoChromium { .. } => "NO_CHROMIUM",
            Self::NoStart(_) => "NOT_STARTED",
            Self::NotRunning(_) => "NOT_RUNNING",
            Self::NoProfile(_) => "NO_PROFILE",
            Self::NoTab(_) => "NO_TAB",
            Self::NoRef(_) => "NO_REF",
            Self::Page(_) => "PAGE_FAILED",
            Self::Timeout(_) => "TIMEOUT",
            Self::Lost => "BROWSER_LOST",
            Self::State(_) => "STATE",
            Self::Stopping => "SHUTTING_DOWN",
        }
    }

    /// The status of an HTTP answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) => 400,
            Self::Refused(_) => 403,
            Self::NoRoute(_) | Self::NoProfile(_) | Self::NoTab(_) | Self::NoRef(_) => 404,
            Self::NotRunning(_) => 409,
            Self::State(_) => 500,
            Self::NoStart(_) | Self::Page(_) | Self::Lost => 502,
            Self::Disabled | Self::NoChromium { .. } | Self::Stopping => 503,
            Self::Timeout(_) => 504,
        }
    }

    /// The same request may succeed later, with nothing changed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Lost | Self::Stopping)
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }
}
