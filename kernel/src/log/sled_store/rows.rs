//! Values of any size in a sled tree.
//!
//! sled writes a leaf of its tree as one record and moves records over about 128 KiB into files of
//! their own, which it never syncs. A leaf holds up to 17 items, 20 after a merge, so key and value
//! together stay below [`MAX_ROW_BYTES`]; a larger value is cut into pieces. Keys start with a
//! byte that names tree and kind, so that a row tells where it belongs even without its tree:
//!
//! | first byte | key | value |
//! |---|---|---|
//! | base | key | `0` value, or `1` mark (16 bytes) length (4 bytes), or `2` short form ([`codec`]) |
//! | base + 1 | mark, number (2 bytes) | a piece |
//! | base + 2 | key | nothing: the key has pieces |
//! | base + 3 | | how far the store was synced; see [`Mark`] |
//! | base + 3 | `g` | the generation of the journal whose rows are all here; see [`flush`](super::flush) |
//!
//! The mark is a hash over key and value. It keeps the pieces of an older value apart from those
//! of a newer one, and shows pieces that were not written together.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sled::IVec;

use super::codec;
use super::errors::{self, write_failure};
use crate::log::snapshot::Tracked;
use crate::log::store::{Pairs, StoreError, TableWrite};

/// Most bytes of a key and its value in one row.
pub(super) const MAX_ROW_BYTES: usize = 6000;
/// Most bytes of a piece: its key has 19 bytes.
const PIECE_BYTES: usize = MAX_ROW_BYTES - 19;
/// Most pieces of a value: about 380 MiB.
const MAX_PIECES: usize = u16::MAX as usize;
/// Kinds of keys in a tree.
const KINDS: u8 = 4;
const WHOLE: u8 = 0;
const CUT: u8 = 1;
const PACKED: u8 = 2;
const MARK_BYTES: usize = 16;
/// How often a value is read again because it was replaced meanwhile.
const TRIES: usize = 16;

/// First byte of the keys of a tree; the three after it are the tree's too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) struct Space(u8);

impl Space {
    /// Log and admission state.
    pub(in crate::log) const LOG: Self = Self(0x10);
    /// Projections.
    pub(in crate::log) const PROJECTIONS: Self = Self(0x20);
    /// Ledgers.
    pub(in crate::log) const LEDGERS: Self = Self(0x30);

    /// The tree that a key belongs to, as it stands in the file.
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        let first = key.first()?;
        [Self::LOG, Self::PROJECTIONS, Self::LEDGERS]
            .into_iter()
            .find(|space| (space.0..space.0 + KINDS).contains(first))
    }

    /// The first byte of its keys, and the first byte beyond them.
    pub(super) fn bounds(self) -> (u8, u8) {
        (self.0, self.0 + KINDS)
    }

    /// The key of a row in the file.
    pub(super) fn row(self, key: &[u8]) -> Vec<u8> {
        prefixed(self.0, key)
    }

    /// The key of a row, from its key in the file.
    pub(super) fn key_of(self, row: &[u8]) -> Option<&[u8]> {
        row.strip_prefix(&[self.0])
    }

    fn piece(self, mark: &[u8], number: usize) -> Vec<u8> {
        let mut key = prefixed(self.0 + 1, mark);
        key.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
        key
    }

    fn listed(self, key: &[u8]) -> Vec<u8> {
        prefixed(self.0 + 2, key)
    }
}

fn prefixed(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(rest.len() + 1);
    key.push(first);
    key.extend_from_slice(rest);
    key
}

/// What stands in a row.
pub(super) enum Stored<'a> {
    /// The value itself.
    Whole(Cow<'a, [u8]>),
    /// The value is in pieces.
    Cut(Cut),
}

/// Where the pieces of a value are.
pub(super) struct Cut {
    mark: [u8; MARK_BYTES],
    length: usize,
}

impl Cut {
    fn pieces(&self) -> usize {
        self.length.div_ceil(PIECE_BYTES)
    }

    /// The keys of the pieces, in order.
    pub(super) fn keys(&self, space: Space) -> impl Iterator<Item = Vec<u8>> {
        let mark = self.mark;
        (0..self.pieces()).map(move |number| space.piece(&mark, number))
    }

    /// Whether these bytes are the value of this key.
    pub(super) fn fits(&self, key: &[u8], value: &[u8]) -> bool {
        value.len() == self.length && mark(key, value) == self.mark
    }
}

/// Reads the value of a row in the file.
pub(super) fn stored(bytes: &[u8]) -> Option<Stored<'_>> {
    match bytes.split_first()? {
        (&WHOLE, value) => Some(Stored::Whole(Cow::Borrowed(value))),
        (&PACKED, packed) => Some(Stored::Whole(Cow::Owned(codec::unpack(packed)?))),
        (&CUT, rest) => {
            let (mark, length) = rest.split_at_checked(MARK_BYTES)?;
            let length = u32::from_be_bytes(length.try_into().ok()?);
            Some(Stored::Cut(Cut {
                mark: mark.try_into().ok()?,
                length: usize::try_from(length).ok()?,
            }))
        }
        _ => None,
    }
}

fn mark(key: &[u8], value: &[u8]) -> [u8; MARK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    let mut mark = [0; MARK_BYTES];
    hasher.finalize_xof().fill(&mut mark);
    mark
}

/// Which keys may have pieces: says yes for all that have, and now and then for another.
struct MaybeCut(Vec<AtomicU64>);

impl MaybeCut {
    const WORDS: usize = 8192;

    fn new() -> Self {
        Self((0..Self::WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    fn place(&self, key: &[u8]) -> Option<(&AtomicU64, u64)> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let bit = hasher.finish();
        let word = usize::try_from((bit >> 6) % Self::WORDS as u64).ok()?;
        Some((self.0.get(word)?, 1 << (bit & 63)))
    }

    fn add(&self, key: &[u8]) {
        if let Some((word, bit)) = self.place(key) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.place(key).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }
}

/// The rows of one tree.
pub(super) struct Rows {
    tree: Arc<Tracked>,
    config: sled::Config,
    space: Space,
    maybe_cut: MaybeCut,
    /// Whether new values are made shorter.
    pack: bool,
}

/// How far the store was synced when a batch was written: the number of the newest sync that had
/// been begun, and of the newest one that was done. A batch is durable for certain once another
/// one says that a later sync than those begun before it was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) begun: u64,
    pub(super) done: u64,
    /// `begun` of the mark before, which shows whether that one was lost. Older files and the
    /// first mark of a process have none.
    pub(super) earlier: Option<u64>,
}

/// How the value of a mark begins.
const MARK_BEGINS: &[u8] = b"fedsx synced ";

impl Mark {
    /// Reads the value of a mark; `None` for other values.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let numbers = value.strip_prefix(MARK_BEGINS)?;
        let (numbers, rest) = numbers.as_chunks::<8>();
        let number = |at: usize| numbers.get(at).map(|bytes| u64::from_be_bytes(*bytes));
        let whole = rest.is_empty() && numbers.len() <= 3;
        let mark = Self { begun: number(0)?, done: number(1)?, earlier: number(2) };
        whole.then_some(mark)
    }

    pub(super) fn value(self) -> Vec<u8> {
        let earlier = self.earlier.map(u64::to_be_bytes);
        let earlier = earlier.as_ref().map_or(&[][..], |bytes| bytes);
        [MARK_BEGINS, &self.begun.to_be_bytes(), &self.done.to_be_bytes(), earlier].concat()
    }
}

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// Writes as they go into the file.
pub(super) struct Prepared {
    pub(super) writes: Vec<TableWrite>,
    /// How much that is, in bytes.
    pub(super) bytes: u64,
}

impl Rows {
    /// New values are made shorter with `pack`. The configuration is that of the database of the tree.
    pub(super) fn open(
        tree: Arc<Tracked>,
        pack: bool,
        config: sled::Config,
    ) -> Result<Self, StoreError> {
        let space = tree.space();
        let rows = Self { tree, config, space, maybe_cut: MaybeCut::new(), pack };
        let (from, to) = (space.listed(&[]), space.mark());
        for item in rows.tree.range(Bound::Included(from.into()), Bound::Excluded(to.into())) {
            let (key, _) = item.map_err(|e| rows.unread(e))?;
            rows.maybe_cut.add(key.get(1..).unwrap_or_default());
        }
        Ok(rows)
    }

    /// Why something could not be read. sled answers with the write that failed before, where it
    /// would change its tree on the way.
    fn unread(&self, error: sled::Error) -> StoreError {
        match (self.config.global_error(), error) {
            (Err(why), sled::Error::Io(_)) => StoreError::Poisoned(write_failure(&why)),
            (_, error) => errors::read_error(error),
        }
    }

    /// The tree below, for copies of all that is in it.
    pub(super) fn tree(&self) -> &Arc<Tracked> {
        &self.tree
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        for _ in 0..TRIES {
            let row = self.tree.get(&self.space.row(key)).map_err(|e| self.unread(e))?;
            let Some(row) = row else { return Ok(None) };
            if let Some(value) = self.value(key, &row)? {
                return Ok(Some(value));
            }
            // Replaced between the two reads, or damaged.
        }
        Err(StoreError::Damaged {
            place: format!("the value at {}", key.escape_ascii()),
            reason: "its pieces are not those that were written".into(),
        })
    }

    /// The value of a row; `None` where its pieces are missing.
    fn value(&self, key: &[u8], row: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match stored(row) {
            Some(Stored::Whole(value)) => Ok(Some(value.into_owned())),
            Some(Stored::Cut(cut)) => {
                let mut value = Vec::with_capacity(cut.length);
                for piece in cut.keys(self.space) {
                    match self.tree.get(&piece).map_err(|e| self.unread(e))? {
                        Some(piece) => value.extend_from_slice(&piece),
                        None => return Ok(None),
                    }
                }
                Ok(cut.fits(key, &value).then_some(value))
            }
            None => Err(StoreError::Damaged {
                place: format!("the value at {}", key.escape_ascii()),
                reason: "it has no known form".into(),
            }),
        }
    }

    /// The rows from a key on, up to and without another one, in key order.
    pub(super) fn range<'a>(
        &'a self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<Pair, StoreError>> + use<'a> {
        let (from, to) = self.bounds(from, to);
        self.tree.range(from, to).filter_map(|item| self.pair(item).transpose())
    }

    /// The same in falling order.
    pub(super) fn range_back<'a>(
        &'a self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<Pair, StoreError>> + use<'a> {
        let (from, to) = self.bounds(from, to);
        self.tree.range_back(from, to).filter_map(|item| self.pair(item).transpose())
    }

    fn bounds(&self, from: &[u8], to: Option<&[u8]>) -> (Bound<IVec>, Bound<IVec>) {
        let from = self.space.row(from);
        let to = to.map_or_else(|| vec![self.space.0 + 1], |to| self.space.row(to));
        (Bound::Included(from.into()), Bound::Excluded(to.into()))
    }

    fn pair(&self, item: sled::Result<(IVec, IVec)>) -> Result<Option<Pair>, StoreError> {
        let (row, bytes) = item.map_err(|e| self.unread(e))?;
        let key = row.get(1..).unwrap_or_default().to_vec();
        let value = match self.value(&key, &bytes)? {
            Some(value) => Some(value),
            // Replaced meanwhile; what is there now is as good.
            None => self.get(&key)?,
        };
        Ok(value.map(|value| (key, value)))
    }

    /// The last key that starts with this prefix.
    pub(super) fn last(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let (from, to) = self.bounds(prefix, end_of(prefix).as_deref());
        match self.tree.range_back(from, to).next() {
            Some(item) => {
                let (key, _) = item.map_err(|e| self.unread(e))?;
                Ok(key.get(1..).map(<[u8]>::to_vec))
            }
            None => Ok(None),
        }
    }

    /// See [`crate::log::Table::scan`].
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Pairs, StoreError> {
        self.range(after.unwrap_or(prefix).max(prefix), None)
            .filter(|item| !matches!(item, Ok((key, _)) if Some(key.as_slice()) == after))
            .take_while(|item| !matches!(item, Ok((key, _)) if !key.starts_with(prefix)))
            .take(limit)
            .collect()
    }

    /// See [`crate::log::Table::scan_back`].
    pub(super) fn scan_back(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Pairs, StoreError> {
        let end = end_of(prefix);
        let to = match (before, end.as_deref()) {
            (Some(before), Some(end)) => Some(before.min(end)),
            (before, end) => before.or(end),
        };
        self.range_back(prefix, to).take(limit).collect()
    }

    /// Works out what these writes come to in the file. A later write to a key wins.
    pub(super) fn prepare(&self, writes: Vec<TableWrite>) -> Result<Prepared, StoreError> {
        let mut prepared: Vec<TableWrite> = Vec::with_capacity(writes.len());
        for (key, value) in writes {
            if key.len() >= PIECE_BYTES {
                return Err(StoreError::Io(format!("a key of {} bytes is too long", key.len())));
            }
            if self.maybe_cut.holds(&key) {
                self.drop_pieces(&key, &mut prepared)?;
            }
            let row = self.space.row(&key);
            let packed = value.as_deref().filter(|_| self.pack).and_then(codec::pack);
            let packed = packed.filter(|packed| row.len() + packed.len() < MAX_ROW_BYTES);
            match (value, packed) {
                (None, _) => prepared.push((row, None)),
                (Some(_), Some(packed)) => prepared.push((row, Some(prefixed(PACKED, &packed)))),
                (Some(value), None) if row.len() + value.len() < MAX_ROW_BYTES => {
                    prepared.push((row, Some(prefixed(WHOLE, &value))));
                }
                (Some(value), None) => self.cut(&key, &value, &mut prepared)?,
            }
        }
        let size = |(key, value): &TableWrite| key.len() + value.as_ref().map_or(0, Vec::len);
        let bytes = prepared.iter().map(size).sum::<usize>() as u64;
        Ok(Prepared { writes: prepared, bytes })
    }

    fn cut(
        &self,
        key: &[u8],
        value: &[u8],
        prepared: &mut Vec<TableWrite>,
    ) -> Result<(), StoreError> {
        let too_large = || StoreError::Io(format!("a value of {} bytes is too large", value.len()));
        let length = u32::try_from(value.len()).map_err(|_| too_large())?;
        let cut = Cut { mark: mark(key, value), length: value.len() };
        if cut.pieces() > MAX_PIECES {
            return Err(too_large());
        }
        for (place, piece) in cut.keys(self.space).zip(value.chunks(PIECE_BYTES)) {
            prepared.push((place, Some(piece.to_vec())));
        }
        let mut row = prefixed(CUT, &cut.mark);
        row.extend_from_slice(&length.to_be_bytes());
        prepared.push((self.space.row(key), Some(row)));
        prepared.push((self.space.listed(key), Some(Vec::new())));
        self.maybe_cut.add(key);
        Ok(())
    }

    /// Removes the pieces that a key has, also those that an earlier write of the same batch made.
    fn drop_pieces(&self, key: &[u8], prepared: &mut Vec<TableWrite>) -> Result<(), StoreError> {
        let row = self.space.row(key);
        let stored_now = self.tree.get(&row).map_err(|e| self.unread(e))?;
        let earlier = prepared.iter().rev().find(|(key, _)| *key == row);
        let earlier = earlier.and_then(|(_, value)| value.clone());
        for bytes in [stored_now.map(|row| row.to_vec()), earlier].into_iter().flatten() {
            if let Some(Stored::Cut(cut)) = stored(&bytes) {
                prepared.extend(cut.keys(self.space).map(|piece| (piece, None)));
                prepared.push((self.space.listed(key), None));
            }
        }
        Ok(())
    }

    /// Reads everything once, so that damage anywhere shows; gives the number of rows.
    pub(super) fn check(&self) -> Result<u64, StoreError> {
        let mut rows = 0;
        for item in self.range(&[], None) {
            item?;
            rows += 1;
        }
        Ok(rows)
    }
}

/// The first key after all that start with this prefix; `None` where there is none.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}
