//! Answering for our own accounts.

use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};

use ::webfinger::{AsyncResolver, Link, Prefix, ResolverError, Webfinger};
use async_trait::async_trait;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use super::ACTIVITY_TYPE;
use super::resource::{Account, Resource, ResourceError, normal_host};

/// The link relation of a page about the account for people.
const PROFILE_PAGE: &str = "http://webfinger.net/rel/profile-page";
/// The crate compares hosts as they are written and wants its own as a constant. So hosts
/// are compared here, and the crate gets this one in their place.
const HERE: &str = "here";

/// Why the directory gave no answer.
pub type DirectoryError = Box<dyn StdError + Send + Sync>;

/// Who a resource is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The account by its canonical name.
    pub account: Account,
    /// The actor's id.
    pub actor_url: String,
    /// The page about the account for people.
    pub profile_url: Option<String>,
    /// Further URLs of the same actor.
    pub aliases: Vec<String>,
}

/// The accounts of this instance.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Who the resource is; `None` where there is no such account. The host is ours.
    ///
    /// Names come in the case that was asked for; a directory whose names are all lower case
    /// may as well ignore it.
    async fn subject(&self, resource: &Resource) -> Result<Option<Subject>, DirectoryError>;
}

/// The JSON Resource Descriptor (RFC 7033, section 4.4) for a resource of ours; `None` where
/// the resource belongs to another host or to nobody.
///
/// `base_authority` is our `host[:port]`, `resource_text` the value of the `resource`
/// parameter.
pub async fn answer(
    base_authority: &str,
    resource_text: &str,
    directory: &dyn Directory,
) -> Result<Option<Value>, ResourceError> {
    let resource = Resource::parse(resource_text)?;
    let ours = normal_host(base_authority);
    if ours.is_none() || resource.authority() != ours {
        return Ok(None);
    }
    let question = match &resource {
        Resource::Account(account) => question("acct", &account.name),
        Resource::Url(url) => {
            let (scheme, rest) = url.split_once(':').ok_or(ResourceError::InvalidUrl)?;
            question(scheme, rest)
        }
    };
    let endpoint = Endpoint { authority: base_authority, failure: Mutex::new(None) };
    let outcome = endpoint.endpoint(question, directory).await;
    let failure = endpoint.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = failure {
        return Err(ResourceError::Directory(failure));
    }
    match outcome {
        Ok(document) => serde_json::to_value(document)
            .map(Some)
            .map_err(|error| ResourceError::Directory(error.into())),
        Err(ResolverError::NotFound | ResolverError::WrongDomain) => Ok(None),
        Err(ResolverError::InvalidResource) => Err(ResourceError::UnknownScheme),
    }
}

/// A resource in the form that the crate takes apart: `prefix:identifier@host`.
fn question(prefix: &str, identifier: &str) -> String {
    format!("{prefix}:{}@{HERE}", utf8_percent_encode(identifier, NON_ALPHANUMERIC))
}

struct Endpoint<'d> {
    authority: &'d str,
    /// The crate's error has no room for a failure of the directory.
    failure: Mutex<Option<DirectoryError>>,
}

#[async_trait]
impl<'d> AsyncResolver for Endpoint<'d> {
    type Repo = &'d dyn Directory;

    async fn instance_domain<'a>(&self) -> &'a str {
        HERE
    }

    async fn find(
        &self,
        prefix: Prefix,
        identifier: String,
        directory: Self::Repo,
    ) -> Result<Webfinger, ResolverError> {
        let identifier = percent_decode_str(&identifier)
            .decode_utf8()
            .map_err(|_| ResolverError::InvalidResource)?;
        let resource = match prefix {
            Prefix::Acct => Resource::Account(Account {
                name: identifier.into_owned(),
                host: normal_host(self.authority).ok_or(ResolverError::WrongDomain)?,
            }),
            Prefix::Custom(scheme) => Resource::Url(format!("{scheme}:{identifier}")),
            Prefix::Group => return Err(ResolverError::InvalidResource),
        };
        match directory.subject(&resource).await {
            Ok(Some(subject)) => Ok(document(subject)),
            Ok(None) => Err(ResolverError::NotFound),
            Err(error) => {
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(ResolverError::NotFound)
            }
        }
    }
}

fn document(subject: Subject) -> Webfinger {
    let Subject { account, actor_url, profile_url, aliases: further } = subject;
    let mut aliases: Vec<String> = Vec::new();
    for alias in profile_url.iter().chain([&actor_url]).chain(&further) {
        if !aliases.contains(alias) {
            aliases.push(alias.clone());
        }
    }
    let link = |rel: &str, mime_type: &str, href| Link {
        rel: rel.to_owned(),
        href: Some(href),
        template: None,
        mime_type: Some(mime_type.to_owned()),
    };
    let mut links = vec![link("self", ACTIVITY_TYPE, actor_url)];
    links.extend(profile_url.map(|url| link(PROFILE_PAGE, "text/html", url)));
    Webfinger { subject: account.to_string(), aliases, links }
}
