use hyper::http::Method;
use hyper::http::header::HeaderMap;
use sfv::{BareItem, FieldType as _, InnerList, Item, ListEntry};

use super::super::error::shown;
use super::super::target::Target;
use super::super::{MAX_COMPONENTS, SignatureError, fields};

/// A covered component (RFC 9421 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Component<'a> {
    Method,
    TargetUri,
    Authority,
    Scheme,
    Path,
    Query,
    RequestTarget,
    /// A header field by its name in lower case.
    Field(&'a str),
}

/// The covered components in order. Parameters on them, names that are not understood and
/// repetitions are refused.
pub(super) fn read(input: &InnerList) -> Result<Vec<Component<'_>>, SignatureError> {
    if input.items.len() > MAX_COMPONENTS {
        return Err(SignatureError::TooManyComponents);
    }
    let mut components = Vec::with_capacity(input.items.len());
    for item in &input.items {
        let component = Component::read(item)?;
        if components.contains(&component) {
            return Err(SignatureError::malformed("a component is covered twice"));
        }
        components.push(component);
    }
    Ok(components)
}

impl<'a> Component<'a> {
    fn read(item: &'a Item) -> Result<Self, SignatureError> {
        let BareItem::String(name) = &item.bare_item else {
            return Err(SignatureError::malformed("a component name is not a string"));
        };
        if !item.params.is_empty() {
            return Err(SignatureError::UnsupportedComponent(shown(&item.serialize())));
        }
        Ok(match name.as_str() {
            "@method" => Self::Method,
            "@target-uri" => Self::TargetUri,
            "@authority" => Self::Authority,
            "@scheme" => Self::Scheme,
            "@path" => Self::Path,
            "@query" => Self::Query,
            "@request-target" => Self::RequestTarget,
            derived if derived.starts_with('@') => {
                return Err(SignatureError::UnsupportedComponent(shown(derived)));
            }
            field if is_field_name(field) => Self::Field(field),
            other => {
                return Err(SignatureError::Malformed(format!(
                    "{:?} is not a header name in lower case",
                    shown(other)
                )));
            }
        })
    }

    fn name(self) -> &'a str {
        match self {
            Self::Method => "@method",
            Self::TargetUri => "@target-uri",
            Self::Authority => "@authority",
            Self::Scheme => "@scheme",
            Self::Path => "@path",
            Self::Query => "@query",
            Self::RequestTarget => "@request-target",
            Self::Field(name) => name,
        }
    }
}

/// A token (RFC 9110 section 5.6.2) without upper-case letters.
fn is_field_name(name: &str) -> bool {
    let plain =
        |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&c);
    !name.is_empty() && name.bytes().all(plain)
}

/// What the lines of a signature base are made from.
pub(super) struct Message<'a> {
    pub method: &'a Method,
    pub target: &'a Target,
    pub headers: &'a HeaderMap,
}

impl Message<'_> {
    /// The signature base (RFC 9421 section 2.5). The parameters line is serialised anew from what
    /// was parsed, so that it says exactly what we understood.
    pub fn signature_base(
        &self,
        covered: &[Component<'_>],
        input: &InnerList,
    ) -> Result<String, SignatureError> {
        let mut base = String::new();
        for component in covered {
            // Names are tokens, so they need no escapes between the quotes.
            base.push_str(&format!("\"{}\": {}\n", component.name(), self.value(*component)?));
        }
        let parameters = vec![ListEntry::InnerList(input.clone())]
            .serialize()
            .ok_or_else(|| SignatureError::malformed("there are no signature parameters"))?;
        base.push_str("\"@signature-params\": ");
        base.push_str(&parameters);
        Ok(base)
    }

    fn value(&self, component: Component<'_>) -> Result<String, SignatureError> {
        Ok(match component {
            Component::Method => self.method.as_str().to_owned(),
            Component::TargetUri => self.target.uri(),
            Component::Authority => self.target.authority.clone(),
            Component::Scheme => self.target.scheme.clone(),
            Component::Path => self.target.path.clone(),
            Component::Query => format!("?{}", self.target.query.as_deref().unwrap_or_default()),
            Component::RequestTarget => self.target.path_and_query(),
            Component::Field(name) => fields::combined(self.headers, name)?
                .ok_or_else(|| SignatureError::AbsentField(shown(name)))?,
        })
    }
}
