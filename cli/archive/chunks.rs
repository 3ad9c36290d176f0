//! Writing a stream: activities as they come, and a chunk whenever one is full.

use std::collections::BTreeSet;

use fedsx_kernel::Cid;
use fedsx_kernel::keys::Key;
use fedsx_kernel::log::Meta;
use serde_json::Value;

use super::car::{CarError, CarWriter};
use super::format::{
    self, Chunk, Erased, FormatError, Link, MAX_CHUNK_BYTES, MAX_CHUNKS, MAX_LINKS, StreamList,
};

/// What a link and its CBOR take, about, in bytes.
const LINK_BYTES: usize = 48;

/// Lists one stream. Bodies are put into the file by whoever has them.
#[derive(Debug)]
pub struct ChunkWriter {
    chunk: Chunk,
    bytes: usize,
    chunks: Vec<Link>,
    authors: BTreeSet<String>,
}

impl ChunkWriter {
    /// Begins a stream: `outbox` or `inbox`.
    pub fn new(stream: &str) -> Self {
        let chunk = Chunk { stream: stream.to_owned(), ..Chunk::default() };
        Self { chunk, bytes: 0, chunks: Vec::new(), authors: BTreeSet::new() }
    }

    /// Whether the keys of an author stand in the stream already.
    pub fn knows(&self, author: &str) -> bool {
        self.authors.contains(author)
    }

    /// Gives the keys of an author, before the entry that needs them.
    pub fn author(
        &mut self,
        car: &mut CarWriter,
        author: &str,
        keys: Vec<Key>,
    ) -> Result<(), CarError> {
        if keys.is_empty() || !self.authors.insert(author.to_owned()) {
            return Ok(());
        }
        self.room(car, weight(&keys)?)?;
        self.chunk.authors.insert(author.to_owned(), keys);
        Ok(())
    }

    /// Adds an entry whose body is in the file.
    pub fn body(
        &mut self,
        car: &mut CarWriter,
        cid: &Cid,
        proof: Option<String>,
        meta: Meta,
    ) -> Result<(), CarError> {
        let proof_bytes = proof.as_ref().map_or(0, |proof| proof.len() + 2 * LINK_BYTES);
        self.room(car, LINK_BYTES + proof_bytes + weight(&meta)?)?;
        self.chunk.links.push(Some(format::link(cid)?));
        self.chunk.meta.push(meta);
        if let Some(proof) = proof {
            self.chunk.proofs.insert(*cid, proof);
        }
        Ok(())
    }

    /// Adds an entry whose body was erased.
    pub fn erased(
        &mut self,
        car: &mut CarWriter,
        cid: &Cid,
        stub: Value,
        meta: Meta,
    ) -> Result<(), CarError> {
        let stub = format::normal(stub)?;
        self.room(car, 3 * LINK_BYTES + weight(&meta)? + weight(&stub)?)?;
        let position = self.length();
        self.chunk.links.push(None);
        self.chunk.meta.push(meta);
        self.chunk.erased.push(Erased { position, cid: *cid, stub });
        Ok(())
    }

    /// Ends the stream.
    pub fn finish(mut self, car: &mut CarWriter) -> Result<StreamList, CarError> {
        let length = self.length();
        if !self.chunk.links.is_empty() {
            self.close(car)?;
        }
        Ok(StreamList { length, chunks: self.chunks })
    }

    fn length(&self) -> u64 {
        self.chunk.from + self.chunk.links.len() as u64
    }

    /// Begins another chunk where this one has no room for so many bytes.
    fn room(&mut self, car: &mut CarWriter, bytes: usize) -> Result<(), CarError> {
        let full = self.chunk.links.len() >= MAX_LINKS
            || (!self.chunk.links.is_empty() && self.bytes + bytes > MAX_CHUNK_BYTES);
        if full {
            self.close(car)?;
        }
        self.bytes += bytes;
        Ok(())
    }

    fn close(&mut self, car: &mut CarWriter) -> Result<(), CarError> {
        if self.chunks.len() >= MAX_CHUNKS {
            let reason = format!("a stream has at most {MAX_CHUNKS} chunks");
            return Err(FormatError::Encode(reason).into());
        }
        let next =
            Chunk { stream: self.chunk.stream.clone(), from: self.length(), ..Chunk::default() };
        let (cid, block) = format::encode(&std::mem::replace(&mut self.chunk, next))?;
        car.put(&cid, &block)?;
        self.chunks.push(format::link(&cid)?);
        self.bytes = 0;
        Ok(())
    }
}

fn weight<T: serde::Serialize>(value: &T) -> Result<usize, FormatError> {
    Ok(format::encode(value)?.1.len())
}
