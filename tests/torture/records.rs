//! The records in the journals of `powercut.c`: changes, and what they destroyed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

const RECORD_MAGIC: u64 = 0x4345_5250;

/// What is left of a journal.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count).context("cut off")?;
        self.0 = rest;
        Ok(head)
    }

    pub fn number(&mut self) -> Result<u64> {
        Ok(u64::from_ne_bytes(self.bytes(8)?.try_into()?))
    }

    fn short(&mut self) -> Result<u64> {
        Ok(u32::from_ne_bytes(self.bytes(4)?.try_into()?).into())
    }

    fn text(&mut self, count: u64) -> Result<String> {
        Ok(String::from_utf8(self.bytes(usize::try_from(count)?)?.to_vec())?)
    }
}

/// A change of the names in a directory.
#[derive(Debug)]
pub enum NameChange {
    Create { inode: u64, name: String },
    Mkdir { name: String },
    Unlink { saved: u64, name: String },
    Rename { inode: u64, saved: u64, from: String, to: String },
    Rmdir { name: String },
}

pub fn parse_names(records: &[u8]) -> Result<Vec<NameChange>> {
    let mut reader = Reader(records);
    let mut changes = Vec::new();
    while !reader.0.is_empty() {
        // A record that is cut off was being written when the process was killed: what it is
        // about was not done yet.
        let Ok(change) = parse_name(&mut reader) else {
            break;
        };
        changes.push(change?);
    }
    Ok(changes)
}

pub fn parse_name(reader: &mut Reader) -> Result<Result<NameChange>> {
    let (magic, kind) = (reader.short()?, reader.short()?);
    if magic != RECORD_MAGIC {
        return Ok(Err(anyhow::anyhow!("not a record")));
    }
    let (inode, saved) = (reader.number()?, reader.number()?);
    let (length, other) = (reader.short()?, reader.short()?);
    let (name, other) = (reader.text(length)?, reader.text(other)?);
    Ok(Ok(match kind {
        3 => NameChange::Create { inode, name },
        4 => NameChange::Mkdir { name },
        5 => NameChange::Unlink { saved, name },
        6 => NameChange::Rename { inode, saved, from: name, to: other },
        7 => NameChange::Rmdir { name },
        other => return Ok(Err(anyhow::anyhow!("a record of kind {other}"))),
    }))
}

impl NameChange {
    /// A change that was noted may not have been made: the process was killed in between.
    pub fn undo(&self, directory: &Path, journal: &Path) -> Result<()> {
        let inode_of =
            |name: &str| fs::symlink_metadata(directory.join(name)).map(|m| m.ino()).ok();
        match self {
            Self::Create { inode, name } => {
                if inode_of(name) == Some(*inode) {
                    fs::remove_file(directory.join(name))?;
                }
            }
            Self::Mkdir { name } => {
                if inode_of(name).is_some() {
                    fs::remove_dir_all(directory.join(name))?;
                }
            }
            Self::Unlink { saved, name } => {
                if inode_of(name).is_none() {
                    fs::hard_link(journal.join(format!("s-{saved}")), directory.join(name))?;
                }
            }
            Self::Rename { inode, saved, from, to } => {
                if inode_of(to) == Some(*inode) {
                    fs::rename(directory.join(to), directory.join(from))?;
                    if *saved != 0 {
                        fs::hard_link(journal.join(format!("s-{saved}")), directory.join(to))?;
                    }
                }
            }
            Self::Rmdir { name } => {
                if inode_of(name).is_none() {
                    fs::create_dir(directory.join(name))?;
                }
            }
        }
        Ok(())
    }
}

/// A change of a file's content.
#[derive(Debug)]
pub struct ContentChange<'a> {
    /// A write at `offset`; else a new size, `length`.
    pub write: bool,
    pub offset: u64,
    pub length: u64,
    /// The size before.
    pub size: u64,
    /// What was there before: from `offset`, or from the new size on.
    pub before: &'a [u8],
}

pub fn parse_contents(records: &[u8]) -> Result<Vec<ContentChange<'_>>> {
    let mut reader = Reader(records);
    let mut changes = Vec::new();
    while !reader.0.is_empty() {
        let Ok(change) = parse_content(&mut reader) else {
            break;
        };
        changes.push(change?);
    }
    Ok(changes)
}

pub fn parse_content<'a>(reader: &mut Reader<'a>) -> Result<Result<ContentChange<'a>>> {
    let (magic, kind) = (reader.short()?, reader.short()?);
    if magic != RECORD_MAGIC {
        return Ok(Err(anyhow::anyhow!("not a record")));
    }
    let (offset, length, size) = (reader.number()?, reader.number()?, reader.number()?);
    let data = reader.number()?;
    let before = reader.bytes(usize::try_from(data)?)?;
    Ok(Ok(ContentChange { write: kind == 1, offset, length, size, before }))
}
