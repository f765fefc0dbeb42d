//! The calls of Chrome's DevTools protocol that are used here, with what is read of their answers. Chromium's own description:
//! <https://chromedevtools.github.io/devtools-protocol/>.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// One call.
pub trait Call: Serialize + Send {
    /// Its name.
    const NAME: &'static str;
    /// What is read of its answer.
    type Answer: DeserializeOwned;
}

/// Nothing is read of the answer.
#[derive(Debug, Deserialize)]
pub struct Done {}

macro_rules! calls {
    ($($name:ident $wire:literal { $($(#[$attribute:meta])* $field:ident: $type:ty),* $(,)? } -> $answer:ty;)*) => {$(
        #[doc = concat!("`", $wire, "`.")]
        #[derive(Debug, Default, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $($(#[$attribute])* pub $field: $type,)*
        }
        impl Call for $name {
            const NAME: &'static str = $wire;
            type Answer = $answer;
        }
    )*};
}

calls! {
    CloseBrowser "Browser.close" {} -> Done;
    SetDownloads "Browser.setDownloadBehavior" { behavior: &'static str } -> Done;
    GetTargets "Target.getTargets" {} -> Targets;
    CreateTarget "Target.createTarget" { url: String } -> Created;
    AttachToTarget "Target.attachToTarget" { target_id: String, flatten: bool } -> Attached;
    ActivateTarget "Target.activateTarget" { target_id: String } -> Done;
    CloseTarget "Target.closeTarget" { target_id: String } -> Done;
    EnablePage "Page.enable" {} -> Done;
    Navigate "Page.navigate" { url: String } -> Navigated;
    LayoutMetrics "Page.getLayoutMetrics" {} -> Metrics;
    CaptureScreenshot "Page.captureScreenshot" {
        format: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        clip: Option<Clip>,
        capture_beyond_viewport: bool,
    } -> Picture;
    HandleDialog "Page.handleJavaScriptDialog" { accept: bool } -> Done;
    FullAxTree "Accessibility.getFullAXTree" {} -> AxTree;
    ScrollIntoView "DOM.scrollIntoViewIfNeeded" { backend_node_id: u64 } -> Done;
    ContentQuads "DOM.getContentQuads" { backend_node_id: u64 } -> Quads;
    Focus "DOM.focus" { backend_node_id: u64 } -> Done;
    ResolveNode "DOM.resolveNode" { backend_node_id: u64 } -> Resolved;
    Evaluate "Runtime.evaluate" { expression: String, await_promise: bool, return_by_value: bool, user_gesture: bool } -> Evaluated;
    CallFunctionOn "Runtime.callFunctionOn" {
        function_declaration: String,
        object_id: String,
        arguments: Vec<Argument>,
        await_promise: bool,
        return_by_value: bool,
        user_gesture: bool,
    } -> Evaluated;
    InsertText "Input.insertText" { text: String } -> Done;
    DispatchKey "Input.dispatchKeyEvent" {
        r#type: &'static str,
        key: String,
        code: String,
        windows_virtual_key_code: u32,
        modifiers: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    } -> Done;
    DispatchMouse "Input.dispatchMouseEvent" {
        r#type: &'static str,
        x: f64,
        y: f64,
        button: &'static str,
        click_count: u32,
        delta_x: f64,
        delta_y: f64,
    } -> Done;
}

/// Pages, workers, frames.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Targets {
    pub target_infos: Vec<TargetInfo>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetInfo {
    pub target_id: String,
    #[serde(default)]
    pub r#type: String,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub url: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    pub target_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    pub session_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Navigated {
    #[serde(default)]
    pub error_text: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    pub css_content_size: Rect,
    pub css_visual_viewport: Viewport,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Rect {
    pub width: f64,
    pub height: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Viewport {
    pub page_x: f64,
    pub page_y: f64,
}

/// A part of a page, in its own CSS pixels.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Clip {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    pub scale: f64,
}

#[derive(Debug, Deserialize)]
pub struct Picture {
    pub data: String,
}

#[derive(Debug, Deserialize)]
pub struct AxTree {
    pub nodes: Vec<AxNode>,
}

/// A node of the accessibility tree.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AxNode {
    pub node_id: String,
    pub ignored: bool,
    pub role: Option<AxValue>,
    pub name: Option<AxValue>,
    pub value: Option<AxValue>,
    pub properties: Vec<AxProperty>,
    pub parent_id: Option<String>,
    pub child_ids: Vec<String>,
    #[serde(rename = "backendDOMNodeId")]
    pub backend_node_id: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct AxValue {
    pub value: Value,
}

#[derive(Debug, Deserialize)]
pub struct AxProperty {
    pub name: String,
    #[serde(default)]
    pub value: AxValue,
}

#[derive(Debug, Deserialize)]
pub struct Quads {
    pub quads: Vec<Vec<f64>>,
}

#[derive(Debug, Deserialize)]
pub struct Resolved {
    pub object: Remote,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Remote {
    pub object_id: Option<String>,
    pub value: Value,
    pub description: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evaluated {
    pub result: Remote,
    #[serde(default)]
    pub exception_details: Option<Exception>,
}

#[derive(Debug, Deserialize)]
pub struct Exception {
    #[serde(default)]
    pub text: String,
    #[serde(default)]
    pub exception: Option<Remote>,
}

/// An argument of a function.
#[derive(Debug, Serialize)]
pub struct Argument {
    pub value: Value,
}
