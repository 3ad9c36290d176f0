//! What people are shown of what others write: promises of the sanitiser, and of the short form.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use fedsx_projections::display::{self, html, name};
use proptest::prelude::*;
use serde_json::{Value, json};

/// HTML that tries to get past sanitisers, among it the ways in which parsing twice gives another
/// document than parsing once.
fn hostile() -> Vec<String> {
    serde_json::from_str(include_str!("display/hostile.json")).unwrap()
}

/// What the cleaner wrote, taken apart: every tag with its name and attributes. The cleaner quotes every
/// value and closes every tag, so that whatever does not have this form is a fault by itself.
fn tags(cleaned: &str) -> Vec<(String, Vec<(String, String)>)> {
    let (mut found, mut rest) = (Vec::new(), cleaned);
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = |c: char| !c.is_ascii_alphanumeric();
        let close = rest.strip_prefix('/');
        let tag = close.unwrap_or(rest);
        let length = tag.find(end).unwrap_or_else(|| panic!("an open tag: {cleaned}"));
        assert!(length > 0, "{cleaned}");
        let (kind, mut inside) = tag.split_at(length);
        let mut attributes = Vec::new();
        while let Some(attribute) = inside.strip_prefix(' ') {
            let (name, value) = attribute.split_once("=\"").expect(cleaned);
            let (value, after) = value.split_once('"').expect(cleaned);
            attributes.push((name.to_owned(), value.to_owned()));
            inside = after;
        }
        rest = inside.strip_prefix('>').unwrap_or_else(|| panic!("no end: {cleaned}"));
        found.push((kind.to_owned(), attributes));
    }
    found
}

/// The promises of [`html`], whatever the source.
fn check(source: &str) {
    let cleaned = html(source);
    assert_eq!(html(&cleaned), cleaned, "cleaning again changes it: {source:?}");
    let mut open = Vec::new();
    for (kind, attributes) in tags(&cleaned) {
        let allowed = "a abbr b bdi blockquote br cite code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i \
            ins kbd li mark ol p pre q rp rt ruby s samp small span strike strong sub sup time u ul \
            var wbr";
        assert!(allowed.split_whitespace().any(|name| name == kind), "{kind}: {source:?}");
        for (name, value) in attributes {
            match name.as_str() {
                "href" => {
                    let scheme = value.split_once(':').expect(&value).0.to_ascii_lowercase();
                    assert!(["http", "https", "mailto"].contains(&&*scheme), "{value}: {source:?}");
                }
                "rel" => assert_eq!(value, "nofollow noopener noreferrer"),
                "class" => {
                    for class in value.split_whitespace() {
                        let known = [
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
                        assert!(known.contains(&class), "{class}: {source:?}");
                    }
                }
                "lang" | "dir" | "start" | "reversed" | "value" | "datetime" => {}
                other => panic!("the attribute {other}: {source:?}"),
            }
        }
        open.push(kind);
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_name() {
    assert_eq!(name("\t\u{feff}a \u{feff}& b"), "a & b");
    check_name("\t\u{feff}&\u{feff}a");
}

/// The promises of [`name`].
fn check_name(source: &str) {
    let plain = name(source);
    assert!(plain.len() <= 8 * 1024, "{source:?}");
    assert_eq!(name(&plain), plain, "{source:?}");
    let tag = plain.match_indices('<').any(|(at, _)| {
        let next = plain[at + 1..].chars().next();
        next.is_some_and(|c| c.is_ascii_alphabetic() || "/!?".contains(c))
    });
    assert!(!tag, "{plain:?} of {source:?}");
}

#[test]
fn nothing_hostile_comes_through() {
    for source in hostile() {
        check(&source);
        check_name(&source);
        // Beside and inside of what is allowed, where other rules of parsing hold.
        for (before, after) in [
            ("<p>", "</p>"),
            ("<a href=\"https://x.example\">", "</a>"),
            ("<table><tr><td>", "</table>"),
            ("<pre>", "</pre>"),
            ("<ul><li>", "</ul>"),
            ("<svg><desc>", "</svg>"),
            ("<math><mi>", "</math>"),
            ("<!--", "-->"),
        ] {
            check(&format!("{before}{source}{after}"));
        }
    }
}

#[test]
fn what_is_shown_of_html() {
    for (source, shown) in [
        ("<p>Hello, <b>world</b></p>", "<p>Hello, <b>world</b></p>"),
        ("a & b < c", "a &amp; b &lt; c"),
        ("<p>x<script>alert(1)</script>y</p>", "<p>xy</p>"),
        ("<article><header>x</header></article>", "x"),
        ("<img src=\"https://x.example/x.png\" alt=\"x\">y", "y"),
        (
            "<a href=\"https://x.example/@a\" class=\"u-url mention evil\" onclick=\"x()\">@a</a>",
            "<a href=\"https://x.example/@a\" class=\"u-url mention\" rel=\"nofollow noopener noreferrer\">@a</a>",
        ),
        (
            "<span class=\"invisible\">https://</span><span class=\"ellipsis\">x</span>",
            "<span class=\"invisible\">https://</span><span class=\"ellipsis\">x</span>",
        ),
        ("<a href=\"javascript:alert(1)\">x</a>", "<a rel=\"nofollow noopener noreferrer\">x</a>"),
        ("<p dir=\"rtl\" lang=\"he\">x</p>", "<p dir=\"rtl\" lang=\"he\">x</p>"),
        (
            "<ol start=\"3\" reversed><li value=\"7\">x</li></ol>",
            "<ol start=\"3\" reversed=\"\"><li value=\"7\">x</li></ol>",
        ),
    ] {
        assert_eq!(html(source), shown, "{source}");
    }
}

#[test]
fn what_is_shown_of_names() {
    for (source, shown) in [
        ("Tom & Jerry", "Tom & Jerry"),
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("1 < 2", "1 < 2"),
        ("I <3 you", "I <3 you"),
        ("a tag that is not ended</", "a tag that is not ended"),
        ("nor this &lt;/", "nor this"),
        ("<b>bold</b>", "bold"),
        ("&lt;b&gt;bold&lt;/b&gt;", "bold"),
        ("<script>alert(1)</script>x", "x"),
        ("a\u{202e}b\u{0}c", "abc"),
        ("  x  ", "x"),
        ("🐄 Ümläut", "🐄 Ümläut"),
    ] {
        assert_eq!(name(source), shown, "{source}");
    }
}

/// What breaks a limit is shown as its text, soon, and never as nothing.
#[test]
fn limits() {
    let deep = |tag: &str, times: usize| format!("{}x", format!("<{tag}>").repeat(times));
    for source in [
        deep("b", 100),
        deep("div", 3_000),
        deep("blockquote", 5_000),
        deep("a href=x", 9_000),
        format!("{}x", "</p>".repeat(20_000)),
        "x&lt;".repeat(100_000),
        "x".repeat(1 << 20),
    ] {
        let shown = html(&source);
        assert!(!shown.is_empty(), "{} bytes", source.len());
        assert!(shown.len() <= 5 * 128 * 1024, "{} bytes of {}", shown.len(), source.len());
        check(&source);
        check_name(&source);
    }
    assert_eq!(html(&deep("blockquote", 100)), "x");
    assert_eq!(html(&deep("blockquote", 1_000)), "x");
    assert_eq!(name(&deep("blockquote", 500)), "x");
    assert!(html(&deep("blockquote", 50)).starts_with("<blockquote><blockquote>"));
    let long = json!({ "type": "Note", "tag": vec![json!({ "type": "Hashtag", "name": "a" }); 10_000],
        "attachment": vec![json!({ "url": "https://x.example/1" }); 10_000],
        "to": vec!["https://x.example"; 10_000], "attributedTo": vec!["https://x.example/1"; 10_000] });
    assert!(object(&long).to_string().len() < 10_000);
}

#[test]
fn tags_and_attachments_are_counted() {
    let shown = |member: &str, form: &str, of: &dyn Fn(usize) -> Value, count: usize| {
        let all: Vec<Value> = (0..count).map(of).collect();
        object(&json!({ "type": "Note", member: all }))[form].as_array().unwrap().clone()
    };
    let tag = |n: usize| json!({ "type": "Hashtag", "name": format!("t{n}") });
    let tags = |count: usize| shown("tag", "hashtags", &tag, count);
    assert_eq!(tags(200).len(), 200);
    assert_eq!(tags(201), tags(200), "the first ones are shown");
    let file = |n: usize| json!(format!("https://x.example/{n}"));
    let attachments = |count: usize| shown("attachment", "attachments", &file, count);
    assert_eq!(attachments(64).len(), 64);
    assert_eq!(attachments(65), attachments(64), "the first ones are shown");
}

#[test]
fn html_is_read_up_to_a_size() {
    let bytes = 128 * 1024;
    let of = |bytes: usize| format!("<b>x</b>{}", "y".repeat(bytes - "<b>x</b>".len()));
    assert_eq!(html(&of(bytes)), of(bytes));
    let text = of(bytes).replace("<b>x</b>", "x");
    assert_eq!(html(&of(bytes + 1)), text, "the text of what fits");
}

fn object(document: &Value) -> Value {
    Value::Object(display::object(document.as_object().unwrap()))
}

#[test]
fn short_forms() {
    let fits = |document: Value, expected: Value| {
        let shown = object(&document);
        for (member, value) in expected.as_object().unwrap() {
            assert_eq!(&shown[member], value, "{member} of {document}");
        }
        shown
    };
    fits(
        json!({ "type": "Note", "content": "<p onclick=x>a</p>", "summary": "<b>cw</b>", "sensitive": true }),
        json!({ "type": "Note", "content": "<p>a</p>", "summary": "<b>cw</b>", "sensitive": true, "unknown": null }),
    );
    fits(
        json!({ "type": ["as:Note", "Article"], "contentMap": { "de": "<i>d</i>", "en": "e", "x y": "no", "fr": 1 } }),
        json!({ "type": "Note", "content": "<i>d</i>", "contentMap": { "de": "<i>d</i>", "en": "e" } }),
    );
    fits(
        json!({ "type": "Note", "content": "a\n<b>", "mediaType": "text/plain" }),
        json!({ "content": "a<br>\n&lt;b&gt;" }),
    );
    fits(
        json!({ "type": "Recipe", "name": "Cake", "recipeIngredient": ["x"] }),
        json!({ "type": "Recipe", "name": "Cake", "unknown": true, "recipeIngredient": null }),
    );
    fits(
        json!({ "type": null, "content": 7, "name": ["x"], "published": "yesterday", "id": "javascript:x" }),
        json!({ "type": null, "unknown": true, "content": null, "name": null, "published": null, "id": null }),
    );
    fits(
        json!({ "type": "Note", "attributedTo": [{ "type": "Person", "id": "https://x.example/a" }],
            "inReplyTo": { "type": "Link", "href": "https://x.example/1" } }),
        json!({ "attributedTo": "https://x.example/a", "inReplyTo": "https://x.example/1" }),
    );
    fits(
        json!({ "type": "Note", "url": [{ "type": "Link", "mediaType": "video/mp4", "href": "https://x.example/v" },
            { "type": "Link", "mediaType": "text/html", "href": "https://x.example/h" }] }),
        json!({ "url": "https://x.example/h" }),
    );
    fits(
        json!({ "type": "Image", "url": "https://x.example/1.png", "mediaType": "image/png", "name": "a cow" }),
        json!({ "name": "a cow", "attachments": [{ "type": "Image", "url": "https://x.example/1.png",
            "mediaType": "image/png" }] }),
    );
    fits(
        json!({ "type": "Question", "anyOf": [{ "type": "Note", "name": "<b>A</b>",
            "replies": { "type": "Collection", "totalItems": 2 } }, { "name": "B" }],
            "endTime": "2026-01-01T00:00:00Z", "votersCount": 2 }),
        json!({ "poll": { "multiple": true, "voters": 2, "options": [{ "name": "A", "votes": 2 }, { "name": "B" }] },
            "endTime": "2026-01-01T00:00:00Z" }),
    );
    fits(
        json!({ "type": "Event", "name": "E", "startTime": "2026-01-01T00:00:00Z",
            "location": { "type": "Place", "name": "Here", "url": "javascript:x" } }),
        json!({ "startTime": "2026-01-01T00:00:00Z", "location": { "name": "Here" } }),
    );
}

#[test]
fn attachments() {
    let shown = |attachment: Value| {
        object(&json!({ "type": "Note", "attachment": attachment }))["attachments"].clone()
    };
    for (attachment, expected) in [
        (
            json!({ "type": "Document", "mediaType": "IMAGE/PNG; x=y", "url": "https://x.example/1", "name": "<i>alt</i>",
            "width": 3, "height": -1, "sensitive": true }),
            json!([{ "type": "Document", "mediaType": "image/png", "url": "https://x.example/1", "name": "alt",
            "width": 3, "sensitive": true }]),
        ),
        (
            json!({ "type": "Link", "href": "https://x.example/1" }),
            json!([{ "type": "Link", "url": "https://x.example/1" }]),
        ),
        (
            json!({ "type": "Image", "url": [{ "type": "Link", "href": "https://x.example/1", "mediaType": "image/png" },
            { "type": "Link", "href": "https://x.example/2" }] }),
            json!([{ "type": "Image", "url": "https://x.example/1", "mediaType": "image/png" }]),
        ),
        (
            json!([{ "type": "Image", "url": "data:image/png;base64,x", "name": "x" }, 1, null]),
            json!([{ "type": "Image", "name": "x" }]),
        ),
        (json!("https://x.example/1"), json!([{ "url": "https://x.example/1" }])),
        (
            json!({ "@type": "Recipe", "name": "Cake" }),
            json!([{ "type": "Recipe", "name": "Cake" }]),
        ),
    ] {
        assert_eq!(shown(attachment.clone()), expected, "{attachment}");
    }
}

#[test]
fn whole_documents() {
    let document = json!({
        "type": "Note", "content": "<p onclick=x>a</p>", "contentMap": { "en": "<script>x</script>e" },
        "name": "<b>n</b>", "url": ["javascript:x", "https://x.example/1"],
        "tag": [{ "type": "Link", "href": "data:x", "name": "<i>t</i>" }],
        "oneOf": [{ "type": "Note", "name": "<u>o</u>", "content": "<img>c" }],
        "something": { "else": "<script>stays, since nobody knows what it is</script>", "n": 1 },
    });
    let shown = display::document(document.as_object().unwrap());
    let expected = json!({
        "type": "Note", "content": "<p>a</p>", "contentMap": { "en": "e" }, "name": "n",
        "url": ["https://x.example/1"], "tag": [{ "type": "Link", "name": "t" }],
        "oneOf": [{ "type": "Note", "name": "o", "content": "c" }],
        "something": { "else": "<script>stays, since nobody knows what it is</script>", "n": 1 },
    });
    assert_eq!(Value::Object(shown), expected);
}

/// Pieces that parsers treat in ways of their own.
const PIECES: [&str; 40] = [
    "<a>",
    "</a>",
    "<b>",
    "</b>",
    "<p>",
    "</p>",
    "<table>",
    "</table>",
    "<td>",
    "<tr>",
    "<caption>",
    "<li>",
    "<ul>",
    "</ul>",
    "<svg>",
    "</svg>",
    "<math>",
    "</math>",
    "<mtext>",
    "<mglyph>",
    "<style>",
    "</style>",
    "<script>",
    "</script>",
    "<!--",
    "-->",
    "<select>",
    "<option>",
    "<template>",
    "</template>",
    "<img src=x onerror=alert(1)>",
    "<a href=\"javascript:x\">",
    "<form>",
    "</form>",
    "<noscript>",
    "<title>",
    "<textarea>",
    "<h1>",
    "&lt;",
    "\"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_order_of_pieces(pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..24)) {
        let source = pieces.concat();
        check(&source);
        check_name(&source);
    }

    #[test]
    fn any_text(source in ".{0,200}") {
        check(&source);
        check_name(&source);
    }

    #[test]
    fn changed_attacks(source in proptest::sample::select(hostile()), other in proptest::sample::select(hostile()),
        at in any::<prop::sample::Index>(), from in any::<prop::sample::Index>())
    {
        let place = |text: &str, at: prop::sample::Index| {
            let mut place = at.index(text.len() + 1);
            while !text.is_char_boundary(place) { place -= 1; }
            place
        };
        let (at, from) = (place(&source, at), place(&other, from));
        check(&format!("{}{}{}", &source[..at], &other[from..], &source[at..]));
    }
}
