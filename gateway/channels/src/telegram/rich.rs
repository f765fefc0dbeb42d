//! Styled text: what Markdown becomes before it is cut into messages and written as Telegram HTML.

use std::{ops::Range, sync::Arc};

use crate::Styled;

/// A style that Telegram knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Style {
    Quote,
    Bold,
    Italic,
    Strike,
    /// To an address that [`link`] has let pass.
    Link(Arc<str>),
    Code,
    /// A code block with its language.
    Pre(Option<Arc<str>>),
}

/// A link, unless its scheme is one that Telegram should not open (S22).
pub(super) fn link(url: &str) -> Option<Style> {
    let allowed = ["http://", "https://", "mailto:", "tg://"];
    let scheme = allowed.iter().any(|scheme| {
        url.split_at_checked(scheme.len())
            .is_some_and(|(head, rest)| head.eq_ignore_ascii_case(scheme) && !rest.is_empty())
    });
    let clean = !url.chars().any(|c| c.is_control() || c.is_whitespace());
    (scheme && clean).then(|| Style::Link(url.into()))
}

/// One message's worth of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// As Telegram HTML.
    pub html: String,
    /// The same without any markup.
    pub plain: String,
}

impl From<Chunk> for Styled {
    fn from(chunk: Chunk) -> Self {
        Self { markup: chunk.html, plain: chunk.plain }
    }
}

/// Text with styles on parts of it.
#[derive(Debug, Default)]
pub(super) struct Rich {
    text: String,
    /// End (byte) of each run and its styles, outermost first.
    runs: Vec<(usize, Vec<Style>)>,
}

impl Rich {
    /// Adds text. Styles that may not contain each other at Telegram are thinned out.
    pub fn push(&mut self, text: &str, styles: &[Style]) {
        if text.is_empty() {
            return;
        }
        let linked = styles.iter().any(|style| matches!(style, Style::Link(_)));
        let code = !linked && styles.iter().any(|style| matches!(style, Style::Code | Style::Pre(_)));
        let fits = |style: &&Style| match style {
            Style::Quote => true,
            Style::Code | Style::Pre(_) => code,
            _ => !code,
        };
        let styles: Vec<Style> = styles.iter().filter(fits).cloned().collect();
        self.text.push_str(text);
        match self.runs.last_mut() {
            Some((end, last)) if *last == styles => *end = self.text.len(),
            _ => self.runs.push((self.text.len(), styles)),
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Cuts the text into messages of at most `limit` UTF-16 units, which is how Telegram counts (without markup):
    /// at a line end or a space in the second half of the piece, otherwise anywhere between characters. Tags are closed
    /// and opened again at the cuts. White space at a cut is dropped, a piece of nothing else is left out.
    pub fn chunks(&self, limit: usize) -> Vec<Chunk> {
        let pieces = cuts(&self.text, limit).into_iter().filter(|piece| !self.text[piece.clone()].trim().is_empty());
        pieces.map(|piece| Chunk { html: self.html(piece.clone()), plain: self.text[piece].to_owned() }).collect()
    }

    fn html(&self, piece: Range<usize>) -> String {
        let mut out = String::with_capacity(piece.len() + 32);
        let mut open: &[Style] = &[];
        let first = self.runs.partition_point(|(end, _)| *end <= piece.start);
        let mut start = piece.start;
        for (end, styles) in &self.runs[first..] {
            if start >= piece.end {
                break;
            }
            let keep = open.iter().zip(styles).take_while(|(a, b)| a == b).count();
            open[keep..].iter().rev().for_each(|style| close_tag(&mut out, style));
            styles[keep..].iter().for_each(|style| open_tag(&mut out, style));
            open = styles;
            let stop = (*end).min(piece.end);
            escape(&mut out, &self.text[start..stop]);
            start = stop;
        }
        open.iter().rev().for_each(|style| close_tag(&mut out, style));
        out
    }
}

fn cuts(text: &str, limit: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let rest = &text[start..];
        let (mut units, mut fit) = (0, rest.len());
        for (at, c) in rest.char_indices() {
            units += c.len_utf16();
            if units > limit && at > 0 {
                fit = at;
                break;
            }
        }
        if fit == rest.len() {
            pieces.push(start..text.len());
            break;
        }
        // A separator right after the window is as good as one in it.
        let window = &rest[..rest[fit..].chars().next().map_or(fit, |c| fit + c.len_utf8())];
        let good = |at: &usize| *at > fit / 2;
        let at = window.rfind('\n').filter(good).or_else(|| window.rfind(' ').filter(good));
        let (end, next) = at.filter(|at| *at <= fit).map_or((fit, fit), |at| (at, at + 1));
        pieces.push(start..start + end);
        start += next;
    }
    pieces
}

fn open_tag(out: &mut String, style: &Style) {
    match style {
        Style::Quote => out.push_str("<blockquote>"),
        Style::Bold => out.push_str("<b>"),
        Style::Italic => out.push_str("<i>"),
        Style::Strike => out.push_str("<s>"),
        Style::Code => out.push_str("<code>"),
        Style::Link(url) => {
            out.push_str("<a href=\"");
            escape(out, url);
            out.push_str("\">");
        }
        Style::Pre(None) => out.push_str("<pre>"),
        Style::Pre(Some(language)) => {
            out.push_str("<pre><code class=\"language-");
            escape(out, language);
            out.push_str("\">");
        }
    }
}

fn close_tag(out: &mut String, style: &Style) {
    out.push_str(match style {
        Style::Quote => "</blockquote>",
        Style::Bold => "</b>",
        Style::Italic => "</i>",
        Style::Strike => "</s>",
        Style::Code => "</code>",
        Style::Link(_) => "</a>",
        Style::Pre(None) => "</pre>",
        Style::Pre(Some(_)) => "</code></pre>",
    });
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}
