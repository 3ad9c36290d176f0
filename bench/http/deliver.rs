//! Deliveries of another server's actors, all signed before the clock starts.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::OriginalUri;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::runtime::Runtime;

use crate::load::{Arrivals, Requests};
use crate::shared::author::{Author, PUBLIC};
use crate::shared::node::Node;
use crate::{Bench, limits, wire};

/// Whose inbox they come to.
const RECEIVER: &str = "alice";
/// Actors that deliver.
const AUTHORS: usize = 50;
/// Deliveries that one run makes in each way. Signing with RSA takes long.
const COUNTS: [(Way, usize); 3] =
    [(Way::Proof, 20_000), (Way::Rfc9421, 20_000), (Way::Cavage, 3_000)];
/// Clients of the closed run.
const CLIENTS: usize = 64;

/// What a delivery is signed with, beside its proof.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing: the proof alone vouches for it.
    Proof,
    /// RFC 9421 with Ed25519.
    Rfc9421,
    /// draft-cavage with RSA.
    Cavage,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Proof => "proof",
            Self::Rfc9421 => "proof+rfc9421-ed25519",
            Self::Cavage => "proof+cavage-rsa",
        }
    }
}

/// The other server: its documents are served, and it signs.
pub struct Peer {
    authors: Vec<Author>,
    rsa: SecretKey,
}

impl Peer {
    /// Starts it.
    pub fn start(bench: &Bench) -> Result<Self> {
        let listener = bench.runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))?;
        // A name, as others have: addresses take another path here and there.
        let base = format!("http://localhost:{}", listener.local_addr()?.port());
        let around = Runtime::system();
        let rsa = SecretKey::generate_rsa(around.random.as_ref())?;
        let (mut authors, mut documents) = (Vec::new(), HashMap::new());
        for number in 0..AUTHORS {
            let path = format!("actors/author{number}");
            let author = Author::new(&around, &base, &path)?;
            let document = serde_json::Value::Object(author.document(Some(&rsa))?);
            documents.insert(format!("/{path}"), document.to_string());
            authors.push(author);
        }
        let documents = Arc::new(documents);
        let answer = move |OriginalUri(uri): OriginalUri| {
            let documents = documents.clone();
            async move {
                let kind = [(header::CONTENT_TYPE, "application/activity+json")];
                match documents.get(uri.path()) {
                    Some(document) => (kind, document.clone()).into_response(),
                    None => StatusCode::NOT_FOUND.into_response(),
                }
            }
        };
        let app = Router::new().fallback(answer);
        bench.runtime.spawn(async move { axum::serve(listener, app).await });
        Ok(Self { authors, rsa })
    }

    /// Has every author known to an instance.
    pub fn introduce(&mut self, node: &Node) -> Result<()> {
        for author in &mut self.authors {
            let note = author.note(&[PUBLIC])?;
            node.post(&inbox(), None, &note.to_string())?;
        }
        Ok(())
    }

    /// So many deliveries, as bytes on the wire.
    pub fn sign(&mut self, node: &Node, way: Way, count: usize) -> Result<Requests> {
        let url = format!("{}{}", node.base, inbox());
        let mut requests = Vec::with_capacity(count);
        let authors = self.authors.len();
        for number in 0..count {
            let author = self.authors.get_mut(number % authors).context("no author")?;
            let body = author.note(&[PUBLIC])?.to_string().into_bytes();
            let mut headers = match way {
                Way::Proof => HeaderMap::new(),
                Way::Rfc9421 => author.rfc9421(&url, &body)?,
                Way::Cavage => author.cavage(&self.rsa, &url, &body)?,
            };
            headers.insert(header::CONTENT_TYPE, "application/activity+json".parse()?);
            requests.push(wire::request("POST", &inbox(), node.port, &headers, &body));
        }
        Ok(Requests::Once(requests.into()))
    }
}

fn inbox() -> String {
    format!("/actors/{RECEIVER}/inbox")
}

/// An instance that knows the authors of a peer.
pub fn acquainted(bench: &Bench, directory: &tempfile::TempDir) -> Result<(Node, Peer)> {
    let node = bench.node(directory, &[RECEIVER.to_owned()])?;
    let mut peer = Peer::start(bench)?;
    peer.introduce(&node)?;
    node.rest()?;
    Ok((node, peer))
}

/// In each way: as fast as it goes, then at half of that rate.
pub fn measure(bench: &Bench) -> Result<()> {
    for (way, count) in COUNTS {
        let directory = bench.directory()?;
        let (node, mut peer) = acquainted(bench, &directory)?;
        let requests = peer.sign(&node, way, count)?;
        let limits = limits::measure(directory.path())?;
        let closed = bench.load(&node, requests, Arrivals::Closed(CLIENTS))?;
        closed.tell(&format!("deliver {} clients={CLIENTS}", way.name()), Some(&limits));
        let per_second = closed.outcome.per_second() / 2.0;
        let requests = peer.sign(&node, way, count / 2)?;
        let limits = limits::measure(directory.path())?;
        let open = bench.load(&node, requests, Arrivals::Open { per_second, connections: 256 })?;
        let name = format!("deliver {} offered_per_s={per_second:.0}", way.name());
        open.tell(&name, Some(&limits));
    }
    Ok(())
}
