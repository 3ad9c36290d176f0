//! CAR version 1 (ipld.io/specs/transport/car/carv1).
//!
//! A file is a header and then sections; each begins with its length as an unsigned varint. The
//! header is DAG-CBOR `{roots: [CID], version: 1}`, a section is a binary CID and its block. We
//! write exactly one root, and take only blocks under CIDv1 of dag-cbor and blake3-256.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use fedsx_kernel::Cid;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::format::{self, FormatError, Link};

/// Largest section that is read, in bytes; an activity has at most 1 MiB, a chunk hardly more.
const MAX_SECTION_BYTES: u64 = 8 * 1024 * 1024;
/// Largest header that is read, in bytes.
const MAX_HEADER_BYTES: u64 = 4096;
/// The bytes of one of our CIDs.
const CID_BYTES: usize = 36;

/// Why a CAR file cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CarError {
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The failure.
        source: io::Error,
    },
    /// The file ends before a header or section is whole.
    #[error("the file is cut off: what begins at byte {0} is not whole")]
    CutOff(u64),
    /// The header is not that of a CAR of version 1 with one root.
    #[error("not a CAR of version 1 with one root: {0}")]
    Header(String),
    /// A section is malformed.
    #[error("the section at byte {offset}: {reason}")]
    Section {
        /// Where it begins.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A block is not what its CID says.
    #[error("the block at byte {offset} is not {cid}, but {found}")]
    Hash {
        /// Where its section begins.
        offset: u64,
        /// The CID in the section.
        cid: Box<Cid>,
        /// The CID of the block.
        found: Box<Cid>,
    },
    /// A block that is linked is not there.
    #[error("the block {0} is missing")]
    Missing(Cid),
    /// A header or block cannot be encoded.
    #[error(transparent)]
    Format(#[from] FormatError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    roots: Vec<Link>,
    version: u64,
}

fn header(root: &Cid) -> Result<Vec<u8>, FormatError> {
    let header = Header { roots: vec![format::link(root)?], version: 1 };
    let (_, bytes) = format::encode(&header)?;
    Ok([varint(bytes.len()).as_slice(), &bytes].concat())
}

fn varint(number: usize) -> Vec<u8> {
    let mut buffer = unsigned_varint::encode::usize_buffer();
    unsigned_varint::encode::usize(number, &mut buffer).to_vec()
}

/// Writes a CAR file. The root is known last; its place in the header is filled at the end.
pub struct CarWriter {
    path: PathBuf,
    out: BufWriter<File>,
    blocks: u64,
}

impl CarWriter {
    /// Makes a new file, which only its owner may read.
    pub fn create(path: &Path) -> Result<Self, CarError> {
        let fail = |source| CarError::Io { path: path.to_owned(), source };
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut out = BufWriter::new(options.open(path).map_err(fail)?);
        let later = header(&Cid::of_block(&[]))?;
        out.write_all(&later).map_err(fail)?;
        Ok(Self { path: path.to_owned(), out, blocks: 0 })
    }

    /// Adds a block.
    pub fn put(&mut self, cid: &Cid, block: &[u8]) -> Result<(), CarError> {
        let cid = cid.to_bytes();
        let length = varint(cid.len().saturating_add(block.len()));
        for bytes in [length.as_slice(), &cid, block] {
            self.out
                .write_all(bytes)
                .map_err(|source| CarError::Io { path: self.path.clone(), source })?;
        }
        self.blocks += 1;
        Ok(())
    }

    /// Names the root; the file is durable on return. Gives the number of blocks and of bytes.
    pub fn finish(self, root: &Cid) -> Result<(u64, u64), CarError> {
        let Self { path, out, blocks } = self;
        let header = header(root)?;
        let write = || {
            let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            let bytes = file.stream_position()?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header)?;
            file.sync_all()?;
            Ok(bytes)
        };
        let bytes = write().map_err(|source| CarError::Io { path, source })?;
        Ok((blocks, bytes))
    }
}

/// Where a block lies.
struct Place {
    offset: u64,
    length: u32,
    read: bool,
}

/// A CAR file whose blocks all have the hashes that their CIDs say.
pub struct Car {
    path: PathBuf,
    file: File,
    root: Cid,
    places: HashMap<[u8; 32], Place>,
    bytes: u64,
}

impl Car {
    /// Reads the whole file once and checks every hash. `progress` is told of each byte.
    pub fn open(path: &Path, progress: &dyn Fn(u64)) -> Result<Self, CarError> {
        let fail = |source| CarError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        let mut reader = Sections { reader: BufReader::with_capacity(256 * 1024, file), at: 0 };
        let root = reader.header().map_err(|e| e.at(path))?;
        let mut places = HashMap::new();
        loop {
            let begin = reader.at;
            let Some((offset, section)) = reader.section().map_err(|e| e.at(path))? else { break };
            let (cid, block) = split(&section, offset)?;
            let found = Cid::of_block(block);
            if found != cid {
                return Err(CarError::Hash { offset, cid: cid.into(), found: found.into() });
            }
            let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
            let offset = reader.at.saturating_sub(u64::from(length));
            if let Ok(digest) = cid.digest().try_into() {
                places.entry(digest).or_insert(Place { offset, length, read: false });
            }
            progress(reader.at.saturating_sub(begin));
        }
        let Sections { reader, at: bytes } = reader;
        let car = Self { path: path.to_owned(), file: reader.into_inner(), root, places, bytes };
        if car.holds(&root) { Ok(car) } else { Err(CarError::Missing(root)) }
    }

    /// The root.
    pub fn root(&self) -> &Cid {
        &self.root
    }

    /// How many different blocks there are.
    pub fn blocks(&self) -> u64 {
        self.places.len() as u64
    }

    /// The length of the file, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a block is there.
    pub fn holds(&self, cid: &Cid) -> bool {
        self.places.contains_key(cid.digest())
    }

    /// Blocks that nobody asked for so far.
    pub fn unread(&self) -> u64 {
        self.places.values().filter(|place| !place.read).count() as u64
    }

    /// A block. Its hash is checked again: the file may change under us.
    pub fn block(&mut self, cid: &Cid) -> Result<Vec<u8>, CarError> {
        let place = self.places.get_mut(cid.digest()).ok_or(CarError::Missing(*cid))?;
        place.read = true;
        let mut block = vec![0; place.length as usize];
        self.file
            .seek(SeekFrom::Start(place.offset))
            .and_then(|_| self.file.read_exact(&mut block))
            .map_err(|source| CarError::Io { path: self.path.clone(), source })?;
        let found = Cid::of_block(&block);
        if found == *cid {
            Ok(block)
        } else {
            let offset = place.offset;
            Err(CarError::Hash { offset, cid: (*cid).into(), found: found.into() })
        }
    }
}

fn split(section: &[u8], offset: u64) -> Result<(Cid, &[u8]), CarError> {
    let fail = |reason: String| CarError::Section { offset, reason };
    let (cid, block) = section
        .split_at_checked(CID_BYTES)
        .ok_or_else(|| fail("it is too short for one of our CIDs".into()))?;
    let cid = Cid::from_bytes(cid)
        .map_err(|_| fail("its CID is not a CIDv1 of dag-cbor and blake3-256".into()))?;
    Ok((cid, block))
}

/// A failure while reading, which may lack the name of the file.
enum ReadError {
    Io(io::Error),
    Car(CarError),
}

impl ReadError {
    fn at(self, path: &Path) -> CarError {
        match self {
            Self::Io(source) => CarError::Io { path: path.to_owned(), source },
            Self::Car(error) => error,
        }
    }
}

impl From<CarError> for ReadError {
    fn from(error: CarError) -> Self {
        Self::Car(error)
    }
}

/// The header and sections of a file, one after the other.
struct Sections {
    reader: BufReader<File>,
    at: u64,
}

impl Sections {
    fn header(&mut self) -> Result<Cid, ReadError> {
        let fail = |reason: &str| CarError::Header(reason.to_owned());
        let length = self.length()?.ok_or_else(|| fail("the file is empty"))?;
        if length > MAX_HEADER_BYTES {
            return Err(fail("the header is too long").into());
        }
        let bytes = self.take(length, 0)?;
        let header: Header = format::decode(&bytes).map_err(|e| fail(&e.to_string()))?;
        match header.roots.as_slice() {
            [root] if header.version == 1 => {
                Ok(format::target(root).map_err(|e| fail(&e.to_string()))?)
            }
            [_] => Err(fail("it has another version").into()),
            roots => Err(fail(&format!("it has {} roots", roots.len())).into()),
        }
    }

    /// The next section with the place where it begins; `None` at the end of the file.
    fn section(&mut self) -> Result<Option<(u64, Vec<u8>)>, ReadError> {
        let offset = self.at;
        let Some(length) = self.length()? else { return Ok(None) };
        if length > MAX_SECTION_BYTES {
            let reason = format!("it claims {length} bytes");
            return Err(CarError::Section { offset, reason }.into());
        }
        Ok(Some((offset, self.take(length, offset)?)))
    }

    /// A length; `None` at the end of the file.
    fn length(&mut self) -> Result<Option<u64>, ReadError> {
        let offset = self.at;
        let mut bytes = Vec::new();
        loop {
            let mut byte = [0];
            if self.reader.read(&mut byte).map_err(ReadError::Io)? == 0 {
                if bytes.is_empty() {
                    return Ok(None);
                }
                return Err(CarError::CutOff(offset).into());
            }
            self.at += 1;
            bytes.extend_from_slice(&byte);
            let [last] = byte;
            if unsigned_varint::decode::is_last(last) || bytes.len() >= 10 {
                break;
            }
        }
        match unsigned_varint::decode::u64(&bytes) {
            Ok((length, [])) => Ok(Some(length)),
            Ok(_) => Err(CarError::CutOff(offset).into()),
            Err(e) => {
                let reason = format!("its length is no varint: {e}");
                Err(CarError::Section { offset, reason }.into())
            }
        }
    }

    fn take(&mut self, length: u64, offset: u64) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(length).read_to_end(&mut bytes);
        let read = read.map_err(ReadError::Io)? as u64;
        self.at += read;
        if read == length { Ok(bytes) } else { Err(CarError::CutOff(offset).into()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;
    use fedsx_kernel::canonical;
    use serde_json::json;

    fn blocks() -> Vec<(Cid, Vec<u8>)> {
        let block = |n: usize| canonical::to_dag_cbor(&json!({ "n": n, "text": "x".repeat(n) }));
        (0..300).map(|n| block(n).expect("a block")).map(|b| (Cid::of_block(&b), b)).collect()
    }

    fn written(directory: &Path) -> (PathBuf, Cid) {
        let path = directory.join("a.car");
        let mut writer = CarWriter::create(&path).expect("a file");
        let blocks = blocks();
        for (cid, block) in &blocks {
            writer.put(cid, block).expect("written");
        }
        let root = blocks[7].0;
        let (count, bytes) = writer.finish(&root).expect("finished");
        assert_eq!(count, 300);
        assert_eq!(bytes, fs::metadata(&path).expect("the file").len());
        (path, root)
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, root) = written(directory.path());
        let mut car = Car::open(&path, &|_| ()).expect("read");
        assert_eq!((*car.root(), car.blocks(), car.unread()), (root, 300, 300));
        for (cid, block) in blocks() {
            assert_eq!(car.block(&cid).expect("there"), block);
        }
        assert_eq!(car.unread(), 0);
        let absent = Cid::of_block(b"absent");
        assert!(matches!(car.block(&absent), Err(CarError::Missing(cid)) if cid == absent));
        assert!(CarWriter::create(&path).is_err(), "nothing is overwritten");
    }

    /// The form that the specification shows, byte by byte.
    #[test]
    fn the_layout_is_that_of_the_specification() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.car");
        let block = canonical::to_dag_cbor(&json!({})).expect("a block");
        let cid = Cid::of_block(&block);
        let mut writer = CarWriter::create(&path).expect("a file");
        writer.put(&cid, &block).expect("written");
        writer.finish(&cid).expect("finished");
        let mut expected = vec![0xa2, 0x65];
        expected.extend(b"roots");
        // One link: tag 42 over the bytes 0x00 and the CID.
        expected.extend([0x81, 0xd8, 42, 0x58, 37, 0]);
        expected.extend(cid.to_bytes());
        expected.push(0x67);
        expected.extend(b"version");
        expected.push(1);
        expected.insert(0, u8::try_from(expected.len()).expect("short"));
        expected.push(37);
        expected.extend(cid.to_bytes());
        expected.push(0xa0);
        assert_eq!(fs::read(&path).expect("the file"), expected);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, root) = written(directory.path());
        let whole = fs::read(&path).expect("the file");
        let other = directory.path().join("b.car");
        for length in (0..whole.len()).step_by(613) {
            fs::write(&other, &whole[..length]).expect("written");
            // A cut between two sections leaves a CAR file, with fewer blocks.
            if let Ok(car) = Car::open(&other, &|_| ()) {
                assert!(car.blocks() < 300, "cut at {length}");
            }
        }
        for place in (0..whole.len()).step_by(307) {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << (place % 8);
            fs::write(&other, &bytes).expect("written");
            let opened = Car::open(&other, &|_| ());
            assert!(opened.is_err() || opened.is_ok_and(|car| *car.root() != root), "at {place}");
        }
        for junk in [&b"\0"[..], b"\x80", b"\x05hello", &[0xff; 12]] {
            fs::write(&other, [whole.as_slice(), junk].concat()).expect("written");
            assert!(Car::open(&other, &|_| ()).is_err(), "{junk:?} behind the last section");
        }
        for bytes in [&b""[..], b"\x00", b"\x01\xa0", b"PK\x03\x04", &[0xff; 64]] {
            fs::write(&other, bytes).expect("written");
            assert!(Car::open(&other, &|_| ()).is_err(), "{bytes:?}");
        }
    }
}
