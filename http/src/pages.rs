//! Pages for people, made of what `projections::display` lets through.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_projections::display;
use serde_json::{Map, Value};

use crate::negotiate;

const HTML: &str = "text/html; charset=utf-8";
/// Should anything get past the sanitiser, it neither runs nor loads nor sends.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "actor.html")]
struct ActorPage {
    name: String,
    handle: String,
    kind: String,
    /// HTML that the policy let through.
    summary: String,
    id: String,
}

/// The page of an actor that lives here.
pub(crate) fn actor(document: &Value, handle: String) -> Result<Response, Refusal> {
    let text = |member: &str| document.get(member).and_then(Value::as_str).unwrap_or_default();
    let name = display::name(text("name"));
    page(&ActorPage {
        name: if name.is_empty() { text("preferredUsername").to_owned() } else { name },
        handle,
        kind: text("type").to_owned(),
        summary: display::html(text("summary")),
        id: text("id").to_owned(),
    })
}

#[derive(Template)]
#[template(path = "object.html")]
struct ObjectPage {
    title: String,
    id: String,
    kind: String,
    name: String,
    author: String,
    published: String,
    /// Whether the content is shown on demand only.
    folded: bool,
    /// HTML that the policy let through.
    summary: String,
    /// HTML that the policy let through.
    content: String,
    options: Vec<String>,
    /// Address and text.
    links: Vec<(String, String)>,
}

/// The page of an object by an author of this instance.
pub(crate) fn object(document: &Map<String, Value>, author: &str) -> Result<Response, Refusal> {
    let shown = display::object(document);
    let text =
        |member: &str| shown.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, kind, content, summary) =
        (text("name"), text("type"), text("content"), text("summary"));
    let sensitive = shown.get("sensitive") == Some(&Value::Bool(true));
    page(&ObjectPage {
        title: if name.is_empty() { format!("{kind} by {author}") } else { name.clone() },
        id: text("id"),
        name,
        author: author.to_owned(),
        published: text("published"),
        // The summary of an Article is its abstract, that of a Note warns of it.
        folded: sensitive || (kind == "Note" && !summary.is_empty()),
        kind,
        summary,
        content,
        options: each(shown.get("poll").and_then(|poll| poll.get("options")))
            .filter_map(|option| Some(option.get("name")?.as_str()?.to_owned()))
            .collect(),
        links: links(&shown),
    })
}

fn links(shown: &Map<String, Value>) -> Vec<(String, String)> {
    let attached = each(shown.get("attachments")).filter_map(|file| {
        let text = |member: &str| file.get(member).and_then(Value::as_str);
        let url = text("url")?;
        Some((url.to_owned(), text("name").or_else(|| text("type")).unwrap_or(url).to_owned()))
    });
    let quote = shown.get("quote").and_then(Value::as_str);
    attached.chain(quote.map(|quote| (quote.to_owned(), quote.to_owned()))).collect()
}

fn each(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn page(template: &impl Template) -> Result<Response, Refusal> {
    let html = template.render().map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
    let mut response = negotiate::bytes(StatusCode::OK, HTML, html.into_bytes());
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}
