//! Somebody's HTML made fit to be shown.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::policy::{
    self, MAX_HTML_BYTES, MAX_NAME_BYTES, MAX_NESTING, MAX_PASSES, MAX_TAGS, MAX_UNREAD_NESTING,
};

static CLEANER: LazyLock<ammonia::Builder<'static>> = LazyLock::new(policy::cleaner);
static TEXT_ONLY: LazyLock<ammonia::Builder<'static>> = LazyLock::new(policy::text_only);

/// Elements without an end tag, of those that are shown.
const VOID: [&str; 3] = ["br", "hr", "wbr"];

/// Elements that need no end tag, so that many which are not ended are not deep.
const IMPLIED_END: [&str; 12] =
    ["", "br", "dd", "dt", "hr", "img", "input", "li", "p", "rp", "rt", "wbr"];

/// HTML as the policy lets it through: no scripts, no handlers, nothing that loads. What comes out
/// is a fixed point: cleaning it again changes nothing, so what a browser makes of it is what the
/// cleaner saw. HTML beyond the limits of the policy is shown as its text.
pub fn html(source: &str) -> String {
    if fits(source)
        && let Some(cleaned) = settled(source)
    {
        return cleaned;
    }
    // The text of something that long is cut before it is read, which may cut a tag in two.
    escaped(&text(cut(source, MAX_HTML_BYTES)))
}

/// Whether HTML is worth the work of reading it, which grows with the number of tags times the depth.
fn fits(source: &str) -> bool {
    if source.len() > MAX_HTML_BYTES {
        return false;
    }
    let mut open: HashMap<&str, usize> = HashMap::new();
    let (mut tags, mut depth) = (0, 0usize);
    for tag in source.split('<').skip(1) {
        let end = tag.strip_prefix('/');
        let name = end.unwrap_or(tag);
        let length = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        let name = name.get(..length).unwrap_or_default();
        let count = open.entry(name).or_default();
        if end.is_none() && !IMPLIED_END.contains(&name) {
            *count += 1;
            depth += 1;
        } else if *count > 0 {
            *count -= 1;
            depth -= 1;
        }
        tags += 1;
        if tags > MAX_TAGS || depth > MAX_UNREAD_NESTING {
            return false;
        }
    }
    true
}

fn settled(source: &str) -> Option<String> {
    let mut cleaned = CLEANER.clean(source).to_string();
    for _ in 0..MAX_PASSES {
        let again = CLEANER.clean(&cleaned).to_string();
        if again == cleaned {
            return Some(cleaned).filter(|cleaned| nesting(cleaned) <= MAX_NESTING);
        }
        cleaned = again;
    }
    None
}

/// The deepest nesting of HTML that the cleaner wrote, where every element that has one has its end
/// tag and `<` begins nothing but tags.
fn nesting(cleaned: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for tag in cleaned.split('<').skip(1) {
        let name = tag.split(['>', ' ']).next().unwrap_or_default();
        if tag.starts_with('/') {
            depth = depth.saturating_sub(1);
        } else if !VOID.contains(&name) {
            depth += 1;
            deepest = deepest.max(depth);
        }
    }
    deepest
}

/// Plain text: what is left of somebody's text when all markup and all control characters are taken
/// out, cut to a length. ActivityStreams has no markup in names; where one has some nevertheless,
/// nobody is shown it, and nobody's page takes it for its own.
pub fn name(source: &str) -> String {
    let text = text(cut(source, MAX_NAME_BYTES));
    cut(text.trim(), MAX_NAME_BYTES).to_owned()
}

/// The text of HTML, without anything that could be a tag: reading it as HTML again gives the same.
fn text(source: &str) -> String {
    let mut text: String = source.chars().filter(|c| is_shown(*c)).collect();
    for _ in 0..MAX_PASSES {
        // At the end of a text this is none for a parser, and would be one before other text.
        while text.ends_with("</") {
            text.truncate(text.len().saturating_sub(2));
        }
        if !text.contains(['<', '&']) {
            return text;
        }
        let stripped = if fits(&text) {
            unescaped(&TEXT_ONLY.clean(&text).to_string())
        } else {
            without_tags(&text)
        };
        if stripped == text {
            return text;
        }
        text = stripped.chars().filter(|c| is_shown(*c)).collect();
    }
    // What was escaped too often to be looked through is not to become a tag.
    text.retain(|c| !matches!(c, '<' | '>' | '&'));
    text
}

/// A text without what looks like a tag, where there is too much of it to read.
fn without_tags(text: &str) -> String {
    let mut parts = text.split('<');
    let mut left = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if part.starts_with(|c: char| c.is_ascii_alphabetic() || "/!?".contains(c)) {
            left.push_str(part.split_once('>').map_or("", |(_, after)| after));
        } else {
            left.push('<');
            left.push_str(part);
        }
    }
    left
}

/// Whether a character is part of a text: no controls, none that reverse what stands after the
/// text (Unicode, annex 9), and no byte order mark, which is dropped where a text begins with it.
fn is_shown(c: char) -> bool {
    !matches!(c, '\u{202a}'..='\u{202e}' | '\u{fff9}'..='\u{fffb}' | '\u{feff}')
        && (!c.is_control() || c == '\n' || c == '\t')
}

/// Takes back the escapes that the cleaner writes in text.
fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&")
}

/// Plain text as HTML, its lines kept apart.
pub fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars().filter(|c| is_shown(*c)) {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '\u{a0}' => html.push_str("&nbsp;"),
            '\n' => html.push_str("<br>\n"),
            c => html.push(c),
        }
    }
    html
}

/// The beginning of a text, at most so many bytes.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

/// A link that leads where the policy lets links lead.
pub fn link(source: &str) -> Option<&str> {
    const MAX_LINK_BYTES: usize = 4096;
    let scheme = source.split_once(':')?.0.to_ascii_lowercase();
    let plain = !source.chars().any(|c| c.is_control() || c.is_whitespace());
    (source.len() <= MAX_LINK_BYTES && plain && policy::LINK_SCHEMES.contains(&&*scheme))
        .then_some(source)
}
