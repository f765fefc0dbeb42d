//! What is asked of pages.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::{
    BrowserError,
    address::BLANK,
    limits::{PICTURE_HEIGHT, PICTURE_WIDTH, TABS, WAIT_POLL},
    protocol::{
        ActivateTarget, AttachToTarget, Call, CaptureScreenshot, Clip, CloseTarget, CreateTarget, EnablePage, Evaluate,
        Evaluated, FullAxTree, GetTargets, LayoutMetrics, Navigate, ScrollIntoView, TargetInfo,
    },
    running::Running,
    screenshot::{self, Png},
    snapshot::{self, Snapshot, Wanted},
};

/// What is known of the tabs of a browser.
#[derive(Default)]
pub struct Tabs {
    known: BTreeMap<String, Known>,
    /// The one that was used last.
    last: Option<String>,
}

#[derive(Default, Clone)]
struct Known {
    session: String,
    /// Elements of its last snapshot.
    refs: Vec<u64>,
}

/// A tab to which calls can be made.
pub struct Tab<'r> {
    running: &'r Running,
    /// Its id.
    pub id: String,
    session: String,
    /// How long a call may take.
    pub time: Duration,
}

impl Running {
    /// The tabs that are open.
    ///
    /// # Errors
    /// As of calls.
    pub async fn list(&self, time: Duration) -> Result<Vec<TargetInfo>, BrowserError> {
        let targets = self.cdp.call(GetTargets::default(), None, time).await?.target_infos;
        let pages: Vec<TargetInfo> = targets
            .into_iter()
            .filter(|target| target.r#type == "page" && !target.url.starts_with("devtools://"))
            .take(TABS)
            .collect();
        // What is closed is forgotten.
        self.tabs().known.retain(|id, _| pages.iter().any(|page| page.target_id == *id));
        Ok(pages)
    }

    /// The tab of this id, or the one that was used last, or the first.
    ///
    /// # Errors
    /// [`BrowserError::NoTab`], and as of calls.
    pub async fn tab(&self, id: Option<&str>, time: Duration) -> Result<Tab<'_>, BrowserError> {
        let pages = self.list(time).await?;
        let last = self.tabs().last.clone();
        let is_there = |id: &str| pages.iter().any(|page| page.target_id == id);
        let id = match id.map(str::trim).filter(|id| !id.is_empty()) {
            Some(id) if is_there(id) => id.to_owned(),
            Some(id) => return Err(BrowserError::NoTab(openclaw_protocol::display::short(id, 64))),
            None => match last.filter(|last| is_there(last)) {
                Some(last) => last,
                None => {
                    pages.first().map(|page| page.target_id.clone()).ok_or(BrowserError::NoTab("open".to_owned()))?
                }
            },
        };
        self.attached(id, time).await
    }

    /// A new tab, empty.
    ///
    /// # Errors
    /// As of calls, and when there are too many.
    pub async fn open(&self, time: Duration) -> Result<Tab<'_>, BrowserError> {
        if self.list(time).await?.len() >= TABS {
            return Err(BrowserError::invalid(format!("there are {TABS} tabs: close some")));
        }
        let created = self.cdp.call(CreateTarget { url: BLANK.to_owned() }, None, time).await?;
        self.attached(created.target_id, time).await
    }

    /// Shows a tab.
    ///
    /// # Errors
    /// As of calls.
    pub async fn focus(&self, id: &str, time: Duration) -> Result<(), BrowserError> {
        let tab = self.tab(Some(id), time).await?;
        self.cdp.call(ActivateTarget { target_id: tab.id }, None, time).await.map(drop)
    }

    /// Closes a tab.
    ///
    /// # Errors
    /// As of calls.
    pub async fn close_tab(&self, id: &str, time: Duration) -> Result<(), BrowserError> {
        let tab = self.tab(Some(id), time).await?;
        self.cdp.call(CloseTarget { target_id: tab.id.clone() }, None, time).await?;
        self.tabs().known.remove(&tab.id);
        Ok(())
    }

    async fn attached(&self, id: String, time: Duration) -> Result<Tab<'_>, BrowserError> {
        let known = self.tabs().known.get(&id).map(|known| known.session.clone());
        let session = match known {
            Some(session) => session,
            None => {
                let attach = AttachToTarget { target_id: id.clone(), flatten: true };
                let session = self.cdp.call(attach, None, time).await?.session_id;
                // Dialogs are told from now on.
                self.cdp.call(EnablePage::default(), Some(&session), time).await?;
                self.tabs().known.insert(id.clone(), Known { session: session.clone(), refs: vec![] });
                session
            }
        };
        self.tabs().last = Some(id.clone());
        Ok(Tab { running: self, id, session, time })
    }
}

impl Tab<'_> {
    /// Asks the page.
    ///
    /// # Errors
    /// As of calls.
    pub async fn call<C: Call>(&self, call: C) -> Result<C::Answer, BrowserError> {
        let called = self.running.cdp.call(call, Some(&self.session), self.time).await;
        if matches!(&called, Err(BrowserError::Page(why)) if why.contains("Session with given id not found")) {
            self.running.tabs().known.remove(&self.id);
        }
        called
    }

    /// Goes to an address that was judged, and waits until the page is there; a slow part of it is not waited for.
    ///
    /// # Errors
    /// [`BrowserError::Page`] with the browser's word for what failed.
    pub async fn navigate(&self, url: String) -> Result<(), BrowserError> {
        let navigated = self.call(Navigate { url }).await?;
        if let Some(why) = navigated.error_text.filter(|why| !why.is_empty()) {
            let hint = if why.contains("ERR_TUNNEL_CONNECTION_FAILED") {
                " (the site cannot be reached, or its address is not on the public internet)"
            } else {
                ""
            };
            return Err(BrowserError::Page(format!("the page cannot be opened: {why}{hint}")));
        }
        let loaded = async {
            loop {
                let state = self.evaluate("document.readyState").await?;
                if state.result.value != "loading" {
                    return Ok(());
                }
                tokio::time::sleep(WAIT_POLL).await;
            }
        };
        // What is still loading then can be looked at all the same.
        tokio::time::timeout(self.time / 2, loaded).await.unwrap_or(Ok(()))
    }

    /// Runs an expression in the page.
    ///
    /// # Errors
    /// As of calls; an exception of the page is part of the answer.
    pub async fn evaluate(&self, expression: &str) -> Result<Evaluated, BrowserError> {
        let expression = expression.to_owned();
        self.call(Evaluate { expression, await_promise: true, return_by_value: true, user_gesture: true }).await
    }

    /// Title and address.
    ///
    /// # Errors
    /// As of calls.
    pub async fn info(&self) -> Result<TargetInfo, BrowserError> {
        let pages = self.running.list(self.time).await?;
        pages.into_iter().find(|page| page.target_id == self.id).ok_or_else(|| BrowserError::NoTab(self.id.clone()))
    }

    /// The page as text; its refs are the ones that count from now on.
    ///
    /// # Errors
    /// As of calls.
    pub async fn snapshot(&self, wanted: Wanted) -> Result<Snapshot, BrowserError> {
        let tree = self.call(FullAxTree::default()).await?;
        let told = snapshot::of(&tree.nodes, wanted);
        if let Some(known) = self.running.tabs().known.get_mut(&self.id) {
            known.refs.clone_from(&told.refs);
        }
        Ok(told)
    }

    /// The element of a ref of the last snapshot: `e5`.
    ///
    /// # Errors
    /// [`BrowserError::NoRef`].
    pub fn element(&self, text: &str) -> Result<u64, BrowserError> {
        let trimmed = text.trim().trim_start_matches('@').trim_start_matches("ref=").trim_start_matches('e');
        let number = trimmed.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let tabs = self.running.tabs();
        let found = number.and_then(|number| tabs.known.get(&self.id)?.refs.get(number).copied());
        found.ok_or_else(|| BrowserError::NoRef(openclaw_protocol::display::short(text, 32)))
    }

    /// A picture of what is seen, of the whole page, or of an element.
    ///
    /// # Errors
    /// As of calls, and [`BrowserError::Page`] for one that is too large.
    pub async fn picture(&self, full: bool, element: Option<u64>) -> Result<Png, BrowserError> {
        let mut capture = CaptureScreenshot { format: "png", clip: None, capture_beyond_viewport: false };
        if let Some(element) = element {
            self.call(ScrollIntoView { backend_node_id: element }).await?;
            let corners = self.corners(element).await?;
            let view = self.call(LayoutMetrics::default()).await?.css_visual_viewport;
            let (left, top, right, bottom) = bounds(&corners);
            let (width, height) = ((right - left).clamp(1.0, PICTURE_WIDTH), (bottom - top).clamp(1.0, PICTURE_HEIGHT));
            capture.clip = Some(Clip { x: left + view.page_x, y: top + view.page_y, width, height, scale: 1.0 });
            capture.capture_beyond_viewport = true;
        } else if full {
            let size = self.call(LayoutMetrics::default()).await?.css_content_size;
            let (width, height) = (size.width.clamp(1.0, PICTURE_WIDTH), size.height.clamp(1.0, PICTURE_HEIGHT));
            capture.clip = Some(Clip { x: 0.0, y: 0.0, width, height, scale: 1.0 });
            capture.capture_beyond_viewport = true;
        }
        screenshot::decode(&self.call(capture).await?.data)
    }

    /// The corners of an element in the window: x and y by turns.
    ///
    /// # Errors
    /// [`BrowserError::Page`] for one that is not shown.
    pub async fn corners(&self, element: u64) -> Result<Vec<f64>, BrowserError> {
        let quads = self.call(crate::protocol::ContentQuads { backend_node_id: element }).await?.quads;
        let seen = quads.into_iter().find(|quad| quad.len() == 8 && quad.iter().all(|number| number.is_finite()));
        seen.ok_or_else(|| BrowserError::Page("the element is not shown".to_owned()))
    }
}

/// Left, top, right, bottom.
pub fn bounds(corners: &[f64]) -> (f64, f64, f64, f64) {
    let (xs, ys) = (corners.iter().step_by(2), corners.iter().skip(1).step_by(2));
    let least = |numbers: &mut dyn Iterator<Item = &f64>| numbers.copied().fold(f64::INFINITY, f64::min);
    let most = |numbers: &mut dyn Iterator<Item = &f64>| numbers.copied().fold(f64::NEG_INFINITY, f64::max);
    (least(&mut xs.clone()), least(&mut ys.clone()), most(&mut xs.clone()), most(&mut ys.clone()))
}

/// What a page gave, or the words of its exception.
///
/// # Errors
/// [`BrowserError::Page`].
pub fn value(evaluated: Evaluated) -> Result<Value, BrowserError> {
    if let Some(thrown) = evaluated.exception_details {
        let words = thrown.exception.and_then(|exception| exception.description).unwrap_or(thrown.text);
        return Err(BrowserError::Page(format!("the page threw: {}", openclaw_protocol::display::short(&words, 1000))));
    }
    Ok(evaluated.result.value)
}
