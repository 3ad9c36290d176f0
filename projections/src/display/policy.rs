//! What of somebody's HTML is shown, and why. All of the policy is in this file.
//!
//! The rules are an allow-list: what is not named here is not shown. The text inside of an element
//! that is not named stays, the elements in [`DROPPED_WITH_CONTENT`] go with all that they hold.

use std::collections::{HashMap, HashSet};

/// Elements that structure text, and nothing else.
///
/// Not among them: whatever loads something (`img`, `video`, `iframe`: it would tell the author
/// who reads, and when; pictures are listed as attachments, and fetched when the reader wants them),
/// whatever asks for input (`form`, `input`, `button`), whatever has a parser of its own (`svg`,
/// `math`, `style`), and tables, which parsers reorder.
pub(super) const ELEMENTS: [&str; 46] = [
    "a",
    "abbr",
    "b",
    "bdi",
    "blockquote",
    "br",
    "cite",
    "code",
    "dd",
    "del",
    "div",
    "dl",
    "dt",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "ins",
    "kbd",
    "li",
    "mark",
    "ol",
    "p",
    "pre",
    "q",
    "rp",
    "rt",
    "ruby",
    "s",
    "samp",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "sup",
    "u",
    "ul",
    "var",
    "wbr",
    "time",
];

/// Elements whose content is no text for people: code, style, what is shown only where something
/// else is not, and documents with parsers of their own.
pub(super) const DROPPED_WITH_CONTENT: [&str; 14] = [
    "script",
    "style",
    "template",
    "noscript",
    "iframe",
    "object",
    "embed",
    "noembed",
    "noframes",
    "svg",
    "math",
    "select",
    "xmp",
    "plaintext",
];

/// The language and direction of a text belong to its meaning. `id`, `name` and `style` do not: they
/// could cover or take the place of what a page shows around the text.
const EVERYWHERE: [&str; 1] = ["lang"];

/// Where lists start and which way they count.
const OF_LISTS: [(&str, &[&str]); 2] = [("ol", &["start", "reversed"]), ("li", &["value"])];

/// Ways of writing, which have three names (HTML, section 3.2.6.4).
const DIRECTIONS: [&str; 3] = ["ltr", "rtl", "auto"];

/// Classes by which the Fediverse marks mentions, hashtags and links that are shown shortened.
/// Others could borrow the look of the page around the text.
const CLASSES: [&str; 9] = [
    "mention",
    "hashtag",
    "u-url",
    "h-card",
    "p-name",
    "ellipsis",
    "invisible",
    "quote-inline",
    "status-link",
];

/// Where links may lead. `javascript:` runs, `data:` is a document of the author's under the
/// reader's eyes, and a relative link would lead to a place of ours.
pub(super) const LINK_SCHEMES: [&str; 3] = ["http", "https", "mailto"];

/// The page that a link opens learns nothing of the one that it was on, cannot reach back into it,
/// and gains no standing with search engines from it.
const LINK_REL: &str = "nofollow noopener noreferrer";

/// The longest HTML that is read as HTML, in bytes; of longer one its text is shown, cut.
pub(super) const MAX_HTML_BYTES: usize = 128 * 1024;
/// The most tags in it; more are work for the parser that grows with their square.
pub(super) const MAX_TAGS: usize = 4000;
/// The deepest nesting that is shown; deeper is shown as its text. Browsers stop at 512.
pub(super) const MAX_NESTING: usize = 64;
/// The nesting, judged by the tags alone, up to which HTML is read as HTML at all.
pub(super) const MAX_UNREAD_NESTING: usize = 256;
/// How often HTML is cleaned until cleaning changes nothing more; then its text is shown.
pub(super) const MAX_PASSES: usize = 4;
/// The longest plain text (names, descriptions), in bytes.
pub(super) const MAX_NAME_BYTES: usize = 8 * 1024;

/// The cleaner that follows this policy.
pub(super) fn cleaner() -> ammonia::Builder<'static> {
    let mut cleaner = ammonia::Builder::empty();
    let directed = |element| (element, HashMap::from([("dir", HashSet::from(DIRECTIONS))]));
    let classed = |element| (element, HashSet::from(CLASSES));
    cleaner
        .tags(HashSet::from(ELEMENTS))
        .clean_content_tags(HashSet::from(DROPPED_WITH_CONTENT))
        .generic_attributes(HashSet::from(EVERYWHERE))
        .tag_attributes(
            [("a", ["href"].as_slice()), ("time", &["datetime"])]
                .into_iter()
                .chain(OF_LISTS)
                .map(|(element, names)| (element, names.iter().copied().collect()))
                .collect(),
        )
        .tag_attribute_values(
            ["p", "div", "span", "bdi", "blockquote", "li", "pre"].map(directed).into(),
        )
        .allowed_classes(["a", "span", "p"].map(classed).into())
        .url_schemes(HashSet::from(LINK_SCHEMES))
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some(LINK_REL))
        .strip_comments(true);
    cleaner
}

/// A cleaner that leaves only text.
pub(super) fn text_only() -> ammonia::Builder<'static> {
    let mut cleaner = ammonia::Builder::empty();
    cleaner.clean_content_tags(HashSet::from(DROPPED_WITH_CONTENT)).strip_comments(true);
    cleaner
}
