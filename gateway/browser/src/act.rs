//! What can be done in a page: one action, with the keyboard and the mouse as far as that goes.

use std::time::Duration;

use openclaw_protocol::display;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    BrowserError, keys,
    limits::{CALL_MAX, TYPED_CHARS, VALUE_CHARS, WAIT_POLL},
    protocol::{Argument, CallFunctionOn, DispatchKey, DispatchMouse, Focus, InsertText, ResolveNode, ScrollIntoView},
    running::tab::{Tab, bounds, value},
};

/// One action.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Act {
    /// Clicks an element.
    Click {
        r#ref: String,
        #[serde(default)]
        double_click: bool,
        #[serde(default)]
        button: Button,
    },
    /// Moves the mouse over an element.
    Hover { r#ref: String },
    /// Types text into an element, in the place of what stands there; with `submit`, then presses Enter.
    Type {
        r#ref: String,
        text: String,
        #[serde(default)]
        submit: bool,
    },
    /// The same for several elements.
    Fill {
        r#ref: Option<String>,
        text: Option<String>,
        #[serde(default)]
        fields: Vec<Field>,
    },
    /// Presses a key: `Enter`, `Control+a`.
    Press { key: String },
    /// Chooses options of a list, by value or by what is read.
    Select { r#ref: String, values: Vec<String> },
    /// Scrolls an element into view, or the page by so many pixels.
    Scroll {
        r#ref: Option<String>,
        #[serde(default)]
        delta_x: f64,
        delta_y: Option<f64>,
    },
    /// Waits for a time, or until a text is there, or gone.
    Wait { time_ms: Option<u64>, text: Option<String>, text_gone: Option<String> },
    /// Runs a function in the page, with the element of the ref.
    Evaluate { r#fn: String, r#ref: Option<String> },
}

/// A field to be filled.
#[derive(Debug, Deserialize)]
pub struct Field {
    r#ref: String,
    #[serde(alias = "value")]
    text: String,
}

/// A button of the mouse.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Button {
    #[default]
    Left,
    Middle,
    Right,
}

impl Button {
    fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Middle => "middle",
            Self::Right => "right",
        }
    }
}

/// Empties a field the way pages notice.
const CLEAR: &str = "function(){this.focus();if(this.isContentEditable){this.textContent=''}else if('value' in this){\
    const p=this instanceof HTMLTextAreaElement?HTMLTextAreaElement.prototype:HTMLInputElement.prototype;\
    const s=Object.getOwnPropertyDescriptor(p,'value').set;\
    try{s.call(this,'')}catch(e){this.value=''}}\
    this.dispatchEvent(new Event('input',{bubbles:true}))}";
/// Tells the page that a field is as it shall be.
const CHANGED: &str = "function(){this.dispatchEvent(new Event('change',{bubbles:true}))}";
/// Chooses options; gives how many.
const SELECT: &str = "function(wanted){let n=0;for(const o of this.options||[]){\
    const is=wanted.includes(o.value)||wanted.includes(o.label.trim());\
    if(is){n++}if(this.multiple){o.selected=is}else if(is&&n===1){this.value=o.value}}\
    this.dispatchEvent(new Event('input',{bubbles:true}));this.dispatchEvent(new Event('change',{bubbles:true}));return n}";

/// Does it. Gives what `evaluate` gave, else null.
///
/// # Errors
/// What is wrong with it, or why it was not done.
pub async fn perform(tab: &Tab<'_>, act: Act) -> Result<Value, BrowserError> {
    match act {
        Act::Click { r#ref, double_click, button } => click(tab, &r#ref, double_click, button).await?,
        Act::Hover { r#ref } => {
            let (x, y) = middle(tab, tab.element(&r#ref)?).await?;
            mouse(tab, "mouseMoved", x, y, "none", 0).await?;
        }
        Act::Type { r#ref, text, submit } => {
            fill(tab, &r#ref, text).await?;
            if submit {
                press(tab, "Enter").await?;
            }
        }
        Act::Fill { r#ref, text, mut fields } => {
            if let (Some(r#ref), Some(text)) = (r#ref, text) {
                fields.push(Field { r#ref, text });
            }
            if fields.is_empty() {
                return Err(BrowserError::invalid("fill needs `ref` and `text`, or `fields`"));
            }
            for field in fields {
                fill(tab, &field.r#ref, field.text).await?;
            }
        }
        Act::Press { key } => press(tab, &key).await?,
        Act::Select { r#ref, values } => {
            let chosen = function(tab, tab.element(&r#ref)?, SELECT, vec![json!(values)]).await?;
            if chosen == 0 {
                return Err(BrowserError::invalid("the list has none of these values"));
            }
        }
        Act::Scroll { r#ref: Some(r#ref), .. } => {
            tab.call(ScrollIntoView { backend_node_id: tab.element(&r#ref)? }).await?;
        }
        Act::Scroll { r#ref: None, delta_x, delta_y } => {
            let by = format!("window.scrollBy({}, {})", number(delta_x), number(delta_y.unwrap_or(600.0)));
            value(tab.evaluate(&by).await?)?;
        }
        Act::Wait { time_ms, text, text_gone } => wait(tab, time_ms, text, text_gone).await?,
        Act::Evaluate { r#fn, r#ref } => return evaluate(tab, &r#fn, r#ref).await,
    }
    Ok(Value::Null)
}

fn number(number: f64) -> f64 {
    if number.is_finite() { number.clamp(-1e6, 1e6) } else { 0.0 }
}

async fn click(tab: &Tab<'_>, r#ref: &str, double: bool, button: Button) -> Result<(), BrowserError> {
    let (x, y) = middle(tab, tab.element(r#ref)?).await?;
    mouse(tab, "mouseMoved", x, y, "none", 0).await?;
    for count in 1..=if double { 2 } else { 1 } {
        mouse(tab, "mousePressed", x, y, button.as_str(), count).await?;
        mouse(tab, "mouseReleased", x, y, button.as_str(), count).await?;
    }
    Ok(())
}

/// The middle of an element, once it is in view.
async fn middle(tab: &Tab<'_>, element: u64) -> Result<(f64, f64), BrowserError> {
    tab.call(ScrollIntoView { backend_node_id: element }).await?;
    let (left, top, right, bottom) = bounds(&tab.corners(element).await?);
    Ok((f64::midpoint(left, right), f64::midpoint(top, bottom)))
}

async fn mouse(
    tab: &Tab<'_>,
    r#type: &'static str,
    x: f64,
    y: f64,
    button: &'static str,
    click_count: u32,
) -> Result<(), BrowserError> {
    tab.call(DispatchMouse { r#type, x, y, button, click_count, ..DispatchMouse::default() }).await.map(drop)
}

async fn fill(tab: &Tab<'_>, r#ref: &str, text: String) -> Result<(), BrowserError> {
    let element = tab.element(r#ref)?;
    if text.chars().count() > TYPED_CHARS {
        return Err(BrowserError::invalid(format!("at most {TYPED_CHARS} characters can be typed at once")));
    }
    function(tab, element, CLEAR, vec![]).await?;
    tab.call(Focus { backend_node_id: element }).await?;
    tab.call(InsertText { text }).await?;
    function(tab, element, CHANGED, vec![]).await.map(drop)
}

async fn press(tab: &Tab<'_>, name: &str) -> Result<(), BrowserError> {
    let key = keys::named(name).ok_or_else(|| {
        let name = display::short(name, 32);
        BrowserError::invalid(format!(
            "there is no key {name:?}; one letter, or Enter, Tab, Escape, ArrowDown and the like"
        ))
    })?;
    let down = if key.text.is_some() { "keyDown" } else { "rawKeyDown" };
    for r#type in [down, "keyUp"] {
        let text = key.text.clone().filter(|_| r#type == down);
        let (name, code) = (key.name.clone(), key.code.clone());
        let windows_virtual_key_code = key.number;
        let modifiers = key.modifiers;
        tab.call(DispatchKey { r#type, key: name, code, windows_virtual_key_code, modifiers, text }).await?;
    }
    Ok(())
}

async fn wait(
    tab: &Tab<'_>,
    time_ms: Option<u64>,
    text: Option<String>,
    text_gone: Option<String>,
) -> Result<(), BrowserError> {
    let (wanted, is_there) = match (text, text_gone, time_ms) {
        (Some(text), _, _) => (text, true),
        (None, Some(text), _) => (text, false),
        (None, None, Some(ms)) => {
            tokio::time::sleep(Duration::from_millis(ms).min(tab.time).min(CALL_MAX)).await;
            return Ok(());
        }
        (None, None, None) => return Err(BrowserError::invalid("wait needs `timeMs`, `text` or `textGone`")),
    };
    let look = format!("(document.body?.innerText||'').includes({})", json!(wanted));
    let seen = async {
        while value(tab.evaluate(&look).await?)? != Value::Bool(is_there) {
            tokio::time::sleep(WAIT_POLL).await;
        }
        Ok(())
    };
    tokio::time::timeout(tab.time, seen).await.unwrap_or_else(|_| {
        let word = if is_there { "come" } else { "gone" };
        Err(BrowserError::Page(format!("the text has not {word} within {} ms", tab.time.as_millis())))
    })
}

async fn evaluate(tab: &Tab<'_>, code: &str, r#ref: Option<String>) -> Result<Value, BrowserError> {
    let given = match r#ref {
        Some(r#ref) => {
            let wrapped = format!("function(){{return ({code})(this)}}");
            function(tab, tab.element(&r#ref)?, &wrapped, vec![]).await?
        }
        None => {
            let wrapped = format!("(()=>{{const given=({code});return typeof given==='function'?given():given}})()");
            value(tab.evaluate(&wrapped).await?)?
        }
    };
    let length = given.to_string().chars().count();
    if length > VALUE_CHARS {
        return Err(BrowserError::Page(format!(
            "the value has {length} characters, more than {VALUE_CHARS}: return less"
        )));
    }
    Ok(given)
}

async fn function(tab: &Tab<'_>, element: u64, code: &str, arguments: Vec<Value>) -> Result<Value, BrowserError> {
    let resolved = tab.call(ResolveNode { backend_node_id: element }).await?;
    let gone = || BrowserError::Page("the element is gone: take a new snapshot".to_owned());
    let call = CallFunctionOn {
        function_declaration: code.to_owned(),
        object_id: resolved.object.object_id.ok_or_else(gone)?,
        arguments: arguments.into_iter().map(|value| Argument { value }).collect(),
        await_promise: true,
        return_by_value: true,
        user_gesture: true,
    };
    value(tab.call(call).await?)
}
