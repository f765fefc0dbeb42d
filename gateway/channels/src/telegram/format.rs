//! Markdown to messages in Telegram's HTML: `b i s code pre a blockquote`, everything else as plain text.

use std::sync::Arc;

use pulldown_cmark::{CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd};

use super::rich::{Chunk, Rich, Style, link};

/// List levels that are indented; deeper ones look like the last.
const MAX_INDENT: usize = 8;

/// Renders `markdown` into messages of at most `limit` UTF-16 units (markup not counted). Empty only for blank text.
pub(super) fn render(markdown: &str, limit: usize) -> Vec<Chunk> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut writer = Writer::default();
    for event in Parser::new_ext(markdown, options) {
        writer.event(event);
    }
    let chunks = writer.rich.chunks(limit);
    if !chunks.is_empty() {
        return chunks;
    }
    // Markdown that shows nothing, such as a lone link definition, still was meant to be read.
    let mut source = Rich::default();
    source.push(markdown, &[]);
    source.chunks(limit)
}

#[derive(Default)]
struct Writer {
    rich: Rich,
    /// Styles of the text that comes next, outermost first, each at most once.
    styles: Vec<Style>,
    /// For each open element that may have a style: did it add one?
    opened: Vec<bool>,
    /// Newlines wanted before the next text.
    gap: usize,
    /// The wanted newlines lie within one quote.
    gap_quoted: bool,
    /// Next number of each open list, `None` for bullets.
    lists: Vec<Option<u64>>,
    /// Language and text of the code block being read.
    code: Option<(Option<Arc<str>>, String)>,
    /// Where the text of each open image began, and its address.
    images: Vec<(usize, String)>,
    first_cell: bool,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.code {
                Some((_, code)) => code.push_str(&text),
                None => self.write(&text),
            },
            Event::Code(text) => {
                self.open(Some(Style::Code));
                self.write(&text);
                self.close();
            }
            Event::Html(text) => {
                self.write(text.trim_end_matches('\n'));
                self.want_gap(1);
            }
            Event::InlineHtml(text) | Event::InlineMath(text) | Event::DisplayMath(text) => self.write(&text),
            Event::FootnoteReference(text) => self.write(&format!("[{text}]")),
            Event::SoftBreak | Event::HardBreak => self.write("\n"),
            Event::Rule => {
                self.want_block_gap();
                self.write("———");
                self.want_block_gap();
            }
            Event::TaskListMarker(done) => self.write(if done { "☑ " } else { "☐ " }),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { .. } => {
                self.want_block_gap();
                self.open(Some(Style::Bold));
            }
            Tag::BlockQuote(_) => {
                self.want_block_gap();
                self.gap_quoted = false;
                self.open(Some(Style::Quote));
            }
            Tag::CodeBlock(kind) => {
                self.want_block_gap();
                let language = match kind {
                    CodeBlockKind::Fenced(info) => language(&info),
                    CodeBlockKind::Indented => None,
                };
                self.code = Some((language, String::new()));
            }
            Tag::List(number) => {
                self.want_block_gap();
                self.lists.push(number);
            }
            Tag::Item => {
                self.want_gap(1);
                let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(MAX_INDENT));
                match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let mark = format!("{indent}{number}. ");
                        *number = number.saturating_add(1);
                        self.write(&mark);
                    }
                    _ => self.write(&format!("{indent}• ")),
                }
            }
            Tag::Table(_) | Tag::HtmlBlock => self.want_block_gap(),
            Tag::TableHead | Tag::TableRow => {
                self.want_gap(1);
                self.first_cell = true;
            }
            Tag::TableCell => {
                let separator = if std::mem::take(&mut self.first_cell) { "" } else { " | " };
                self.write(separator);
            }
            Tag::Emphasis => self.open(Some(Style::Italic)),
            Tag::Strong => self.open(Some(Style::Bold)),
            Tag::Strikethrough => self.open(Some(Style::Strike)),
            Tag::Link { link_type: LinkType::Email, dest_url, .. } => self.open(link(&format!("mailto:{dest_url}"))),
            Tag::Link { dest_url, .. } => self.open(link(&dest_url)),
            Tag::Image { dest_url, .. } => {
                self.open(link(&dest_url));
                self.images.push((self.rich.len(), dest_url.into_string()));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::Table | TagEnd::HtmlBlock => self.want_block_gap(),
            TagEnd::Heading(_) => {
                self.close();
                self.want_block_gap();
            }
            TagEnd::BlockQuote(_) => {
                self.close();
                self.want_block_gap();
                self.gap_quoted = self.gap_quoted && self.styles.contains(&Style::Quote);
            }
            TagEnd::CodeBlock => {
                if let Some((language, code)) = self.code.take() {
                    self.open(Some(Style::Pre(language)));
                    self.write(code.strip_suffix('\n').unwrap_or(&code));
                    self.close();
                }
                self.want_block_gap();
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.want_block_gap();
            }
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link => self.close(),
            TagEnd::Image => {
                if let Some((start, url)) = self.images.pop()
                    && start == self.rich.len()
                {
                    self.write(&url);
                }
                self.close();
            }
            _ => {}
        }
    }

    fn open(&mut self, style: Option<Style>) {
        let same_kind = |style: &Style| {
            self.styles.iter().any(|open| std::mem::discriminant(open) == std::mem::discriminant(style))
        };
        let style = style.filter(|style| !same_kind(style));
        self.opened.push(style.is_some());
        self.styles.extend(style);
    }

    fn close(&mut self) {
        if self.opened.pop() == Some(true) {
            self.styles.pop();
        }
    }

    fn want_gap(&mut self, newlines: usize) {
        if self.gap == 0 {
            self.gap_quoted = self.styles.contains(&Style::Quote);
        }
        self.gap = self.gap.max(newlines);
    }

    /// An empty line between blocks; lists stay tight.
    fn want_block_gap(&mut self) {
        self.want_gap(if self.lists.is_empty() { 2 } else { 1 });
    }

    fn write(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let gap = std::mem::take(&mut self.gap);
        if gap > 0 && self.rich.len() > 0 {
            let styles: &[Style] = if self.gap_quoted { &[Style::Quote] } else { &[] };
            self.rich.push(&"\n".repeat(gap), styles);
        }
        self.rich.push(text, &self.styles);
    }
}

/// The language of a fence, when it looks like one.
fn language(info: &str) -> Option<Arc<str>> {
    let word = info.split([' ', ',', '\t']).next()?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"+#-_.".contains(&b);
    ((1..=32).contains(&word.len()) && word.bytes().all(fits)).then(|| word.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn html(markdown: &str) -> String {
        let chunks = render(markdown, 4000);
        assert!(chunks.len() <= 1, "{chunks:?}");
        chunks.into_iter().map(|chunk| chunk.html).collect()
    }

    #[test]
    fn inline_styles() {
        assert_eq!(html("**yo** x"), "<b>yo</b> x");
        assert_eq!(html("*a* ~~b~~ `c<d` ***e***"), "<i>a</i> <s>b</s> <code>c&lt;d</code> <i><b>e</b></i>");
        assert_eq!(html("**a `b` c**"), "<b>a </b><code>b</code><b> c</b>");
        assert_eq!(html("**a **b** c**").matches("<b>").count(), html("**a **b** c**").matches("</b>").count());
    }

    #[test]
    fn s22_only_harmless_links_are_links() {
        assert_eq!(html("[a](https://x.y/?q=\"1\"&b)"), "<a href=\"https://x.y/?q=&quot;1&quot;&amp;b\">a</a>");
        assert_eq!(html("<mailto:a@b.c> <a@b.c>").matches("<a href=\"mailto:a@b.c\">").count(), 2);
        assert_eq!(html("[u](tg://user?id=1)"), "<a href=\"tg://user?id=1\">u</a>");
        for bad in ["[a](javascript:alert)", "[a](file:///etc)", "[a](JaVaScRiPt:x)", "[a](./b.md)", "[a](data:x)"] {
            assert_eq!(html(bad), "a", "{bad}");
        }
        assert_eq!(html("![alt](https://x.y/z.png)"), "<a href=\"https://x.y/z.png\">alt</a>");
        assert_eq!(html("![](https://x.y/z.png)"), "<a href=\"https://x.y/z.png\">https://x.y/z.png</a>");
    }

    #[test]
    fn s22_html_of_the_text_is_escaped() {
        assert_eq!(html("<script>alert(1)</script>"), "&lt;script&gt;alert(1)&lt;/script&gt;");
        assert_eq!(html("a <b>c</b> &amp;"), "a &lt;b&gt;c&lt;/b&gt; &amp;");
    }

    #[test]
    fn blocks() {
        assert_eq!(html("# T *x*\n\none\ntwo\n\nthree"), "<b>T <i>x</i></b>\n\none\ntwo\n\nthree");
        assert_eq!(html("- a\n- b\n  - c\n\n1. x\n2. y"), "• a\n• b\n  • c\n\n1. x\n2. y");
        assert_eq!(html("3) a\n\n4) b\n\nend"), "3. a\n4. b\n\nend");
        assert_eq!(html("- [x] a\n- [ ] b"), "• ☑ a\n• ☐ b");
        assert_eq!(html("> a\n>\n> b\n\nc"), "<blockquote>a\n\nb</blockquote>\n\nc");
        assert_eq!(html("> a\n\nx\n\n> > b"), "<blockquote>a</blockquote>\n\nx\n\n<blockquote>b</blockquote>");
        assert_eq!(
            html("```rust,ignore\nlet a = 1 < 2;\n\n```"),
            "<pre><code class=\"language-rust\">let a = 1 &lt; 2;\n</code></pre>"
        );
        assert_eq!(html("```\n*x*\n```\nafter"), "<pre>*x*</pre>\n\nafter");
        assert_eq!(html("|a|b|\n|-|-|\n|1|**2**|"), "a | b\n1 | <b>2</b>");
        assert_eq!(html("a\n\n---\n\nb"), "a\n\n———\n\nb");
    }

    #[test]
    fn what_shows_nothing_is_sent_as_it_stands() {
        assert_eq!(html("[a]: https://x.y"), "[a]: https://x.y");
        assert_eq!(render(" \n\t", 4000), []);
    }

    #[test]
    fn long_text_is_cut_at_exactly_the_limit() {
        let digits: String = ('0'..='9').cycle().take(9000).collect();
        let lengths: Vec<usize> = render(&digits, 4000).iter().map(|chunk| chunk.html.len()).collect();
        assert_eq!(lengths, [4000, 4000, 1000]);
        // Telegram counts UTF-16 units: an emoji is two.
        let lengths: Vec<usize> = render(&"😀".repeat(3000), 4000).iter().map(|c| c.plain.chars().count()).collect();
        assert_eq!(lengths, [2000, 1000]);
    }

    #[test]
    fn tags_and_entities_survive_a_cut() {
        let chunks = render(&format!("**{}**", "a<".repeat(30)), 40);
        let expected = |n| format!("<b>{}</b>", "a&lt;".repeat(n));
        assert_eq!(chunks.iter().map(|c| c.html.clone()).collect::<Vec<_>>(), [expected(20), expected(10)]);
        let chunks = render("```sh\none line\nanother line\n```", 12);
        assert_eq!(chunks[0].html, "<pre><code class=\"language-sh\">one line</code></pre>");
        assert_eq!(chunks[1].html, "<pre><code class=\"language-sh\">another line</code></pre>");
        let words = render(&"word ".repeat(40), 22);
        assert!(words.iter().all(|c| c.plain.split(' ').all(|w| w == "word")), "{words:?}");
    }

    #[test]
    fn s21_deep_nesting_costs_no_more_than_its_length() {
        for bad in ["> ", "*a ", "[", "- ", "**a*_", "`", "![a](", "<b>", "|a|\n", "~~x"] {
            let text = bad.repeat(20_000);
            let length: usize = render(&text, 4000).iter().map(|chunk| chunk.html.len()).sum();
            assert!(length < 20 * text.len(), "{bad:?}: {length}");
        }
    }

    /// Reads Telegram HTML the strict way: only the known tags, balanced, only the four entities. Gives the text.
    fn read(html: &str) -> Result<String, String> {
        let (mut text, mut open, mut rest) = (String::new(), Vec::new(), html);
        while let Some(at) = rest.find(['<', '>', '&', '"']) {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(entity) = ["&amp;", "&lt;", "&gt;", "&quot;"].iter().find(|e| rest.starts_with(**e)) {
                text.push_str(match *entity {
                    "&amp;" => "&",
                    "&lt;" => "<",
                    "&gt;" => ">",
                    _ => "\"",
                });
                rest = &rest[entity.len()..];
                continue;
            }
            let end = rest.find('>').filter(|_| rest.starts_with('<')).ok_or_else(|| format!("stray: {rest}"))?;
            let tag = &rest[1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                if open.pop() != Some(name.to_owned()) {
                    return Err(format!("unbalanced </{name}>"));
                }
                continue;
            }
            let (name, attribute) = tag.split_once(' ').unwrap_or((tag, ""));
            let fine = match name {
                "b" | "i" | "s" | "pre" | "blockquote" => attribute.is_empty(),
                "code" => attribute.is_empty() || attribute.starts_with("class=\"language-"),
                "a" => ["http", "HTTP", "mailto:", "tg://"]
                    .iter()
                    .any(|s| attribute.to_lowercase().starts_with(&format!("href=\"{}", s.to_lowercase()))),
                _ => false,
            };
            if !fine || open.contains(&name.to_owned()) {
                return Err(format!("bad tag <{tag}> in {open:?}"));
            }
            open.push(name.to_owned());
        }
        text.push_str(rest);
        if open.is_empty() { Ok(text) } else { Err(format!("left open: {open:?}")) }
    }

    fn words(text: &str) -> String {
        text.split_whitespace().collect()
    }

    fn markdown() -> impl Strategy<Value = String> {
        let token = prop_oneof![
            "[a-z]{1,8}",
            Just(" ".to_owned()),
            Just("\n".to_owned()),
            Just("\n\n".to_owned()),
            "[*_~`#>|<&\"\\\\!-]{1,4}",
            Just("\n- ".to_owned()),
            Just("\n  1. ".to_owned()),
            Just("\n> ".to_owned()),
            Just("\n```rs\n".to_owned()),
            Just("[x](https://a.b/\"&<)".to_owned()),
            Just("[y](javascript:1)".to_owned()),
            Just("\n|a|b|\n|-|-|\n|c|d|\n".to_owned()),
            Just("<b>".to_owned()),
            Just("😀".to_owned()),
        ];
        prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #[test]
        fn html_is_always_valid_and_within_the_limit(text in prop_oneof![markdown(), "\\PC{0,200}"], limit in 1usize..60) {
            for chunk in render(&text, limit) {
                let read = read(&chunk.html);
                prop_assert_eq!(read.as_deref(), Ok(&chunk.plain[..]), "{}", chunk.html);
                let units: usize = chunk.plain.encode_utf16().count();
                prop_assert!(units <= limit.max(2), "{} > {}", units, limit);
                prop_assert!(!chunk.plain.trim().is_empty());
            }
        }

        #[test]
        fn cutting_loses_nothing(text in prop_oneof![markdown(), "\\PC{0,200}"], limit in 2usize..60) {
            let whole: String = render(&text, usize::MAX).into_iter().map(|c| c.plain).collect();
            let pieces: String = render(&text, limit).into_iter().map(|c| c.plain).collect();
            prop_assert_eq!(words(&whole), words(&pieces));
        }

        #[test]
        fn plain_words_stay(text in "[a-z0-9 ,?%$@]{0,120}") {
            let whole: String = render(&text, 4000).into_iter().map(|c| c.plain).collect();
            prop_assert_eq!(words(&whole), words(&text));
        }
    }
}
