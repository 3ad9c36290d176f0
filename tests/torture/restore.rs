//! What a power cut leaves of a data directory, from the journals that `powercut.c` wrote.
//!
//! A name in a directory is durable once the directory was synced; names change in order, so a
//! cut keeps some first part of the changes since then. Content is durable once the file was
//! synced; of what was written since, the device may have any part, sector by sector, each sector
//! as it stood after some write.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::dice::Dice;
use crate::records::{
    ContentChange, Reader, parse_content, parse_contents, parse_name, parse_names,
};

const FILE_MAGIC: u64 = 0x314c_4e52_4a54_4350;
const HEADER_BYTES: usize = 24;

/// What was not durable when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of it is gone.
    All,
    /// A part of it is gone, by pieces of so many bytes.
    Some {
        /// What the device writes at once.
        sector: u64,
    },
}

/// What a cut took back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    pub writes: u64,
    pub bytes: u64,
    pub names: u64,
}

/// Cuts the power: takes back what was not durable, and forgets the journals.
pub fn cut(data: &Path, journal: &Path, cut: Cut, dice: &Dice) -> Result<Taken> {
    let mut taken = Taken::default();
    let directories = journals(journal, "d-")?;
    for (inode, records) in directories {
        let Some(directory) = find(data, inode)? else {
            continue;
        };
        let changes = parse_names(&records).with_context(|| format!("journal d-{inode:x}"))?;
        let kept = match cut {
            Cut::All => 0,
            Cut::Some { .. } => dice.index(changes.len() + 1),
        };
        for change in changes.iter().skip(kept).rev() {
            change.undo(&directory, journal)?;
            taken.names += 1;
        }
    }
    for (inode, records) in journals(journal, "f-")? {
        let Some(path) = find(data, inode)? else {
            continue;
        };
        let changes = parse_contents(&records).with_context(|| format!("journal f-{inode:x}"))?;
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        let redo = undo(&file, &changes)?;
        taken.writes += changes.len() as u64;
        taken.bytes += redo.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if let Cut::Some { sector } = cut {
            again(&file, &changes, &redo, sector, dice)?;
        }
    }
    forget(journal)?;
    Ok(taken)
}

/// After a kill without a cut: drops a record that was being written, so that the next process
/// can append. What such a record is about was not done.
pub fn trim(journal: &Path) -> Result<()> {
    for prefix in ["d-", "f-"] {
        for (inode, records) in journals(journal, prefix)? {
            let mut reader = Reader(&records);
            let mut whole = records.len();
            while !reader.0.is_empty() {
                whole = records.len() - reader.0.len();
                let complete = if prefix == "d-" {
                    parse_name(&mut reader).map(drop)
                } else {
                    parse_content(&mut reader).map(drop)
                };
                if complete.is_err() {
                    break;
                }
                whole = records.len() - reader.0.len();
            }
            let torn = (records.len() - whole) as u64;
            if torn > 0 {
                let path = journal.join(format!("{prefix}{inode:x}"));
                let file = OpenOptions::new().write(true).open(&path)?;
                file.set_len(file.metadata()?.len() - torn)?;
            }
        }
    }
    Ok(())
}

/// Takes everything as durable.
pub fn forget(journal: &Path) -> Result<()> {
    for entry in fs::read_dir(journal)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name != "uncovered") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Changes that the simulation does not cover; a round in which there were any shows nothing.
pub fn uncovered(journal: &Path) -> Result<Vec<String>> {
    match fs::read_to_string(journal.join("uncovered")) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e.into()),
    }
}

/// The records that are not durable, by inode.
fn journals(journal: &Path, prefix: &str) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(journal)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(inode) = name.strip_prefix(prefix) else {
            continue;
        };
        let inode = u64::from_str_radix(inode, 16).with_context(|| name.clone())?;
        let bytes = fs::read(entry.path())?;
        // The process was killed before it had noted anything.
        if bytes.len() < HEADER_BYTES {
            continue;
        }
        let mut header = Reader(&bytes);
        if header.number()? != FILE_MAGIC {
            bail!("{name} is no journal");
        }
        let durable = usize::try_from(header.number()?)?;
        found.push((inode, bytes.get(durable..).unwrap_or_default().to_vec()));
    }
    found.sort_unstable_by_key(|(inode, _)| *inode);
    Ok(found)
}

/// The path of an inode, if it has a name.
fn find(directory: &Path, inode: u64) -> Result<Option<PathBuf>> {
    if fs::metadata(directory)?.ino() == inode {
        return Ok(Some(directory.to_owned()));
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let about = fs::symlink_metadata(entry.path())?;
        if about.ino() == inode {
            return Ok(Some(entry.path()));
        }
        if about.is_dir()
            && let Some(path) = find(&entry.path(), inode)?
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Takes changes back, the last one first. Gives what each write had written.
fn undo(file: &File, changes: &[ContentChange]) -> Result<Vec<Vec<u8>>> {
    let mut redo = Vec::new();
    for change in changes.iter().rev() {
        let at = if change.write { change.offset } else { change.length };
        redo.push(if change.write {
            read(file, change.offset, change.length)?
        } else {
            Vec::new()
        });
        file.set_len(change.size)?;
        file.write_all_at(change.before, at)?;
    }
    redo.reverse();
    Ok(redo)
}

fn read(file: &File, offset: u64, length: u64) -> Result<Vec<u8>> {
    let size = file.metadata()?.len();
    let length = length.min(size.saturating_sub(offset));
    let mut bytes = vec![0; usize::try_from(length)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Makes a part of the changes again: all up to some change of the size, then any part of the
/// writes up to the next one.
fn again(
    file: &File,
    changes: &[ContentChange],
    redo: &[Vec<u8>],
    sector: u64,
    dice: &Dice,
) -> Result<()> {
    let sizes: Vec<usize> =
        changes.iter().enumerate().filter(|(_, c)| !c.write).map(|(at, _)| at).collect();
    let epoch = dice.index(sizes.len() + 1);
    let start = match epoch.checked_sub(1).and_then(|last| sizes.get(last)) {
        Some(last) => last + 1,
        None => 0,
    };
    let end = sizes.get(epoch).copied().unwrap_or(changes.len());
    for (change, bytes) in changes.iter().zip(redo).take(start) {
        if change.write {
            file.write_all_at(bytes, change.offset)?;
        } else {
            file.set_len(change.length)?;
        }
    }
    let loose: Vec<(u64, &Vec<u8>)> = changes
        .iter()
        .zip(redo)
        .skip(start)
        .take(end.saturating_sub(start))
        .map(|(change, bytes)| (change.offset, bytes))
        .collect();
    let mut writes: HashMap<u64, u64> = HashMap::new();
    for (offset, bytes) in &loose {
        for number in sectors(*offset, bytes.len() as u64, sector) {
            *writes.entry(number).or_default() += 1;
        }
    }
    // For each sector the number of writes that reached the device.
    let likely = [5, 50, 95].get(dice.index(3)).copied().unwrap_or(50);
    let mut reached: Vec<(u64, u64)> = writes.into_iter().collect();
    reached.sort_unstable();
    let reached: HashMap<u64, u64> = reached
        .into_iter()
        .map(|(number, all)| (number, if dice.percent(likely) { all } else { dice.below(all) }))
        .collect();
    let mut made: HashMap<u64, u64> = HashMap::new();
    for (offset, bytes) in loose {
        let end = offset + bytes.len() as u64;
        for number in sectors(offset, bytes.len() as u64, sector) {
            let made = made.entry(number).or_default();
            *made += 1;
            if *made > reached.get(&number).copied().unwrap_or(0) {
                continue;
            }
            let from = (number * sector).max(offset);
            let to = ((number + 1) * sector).min(end);
            let piece = usize::try_from(from - offset)?..usize::try_from(to - offset)?;
            file.write_all_at(bytes.get(piece).unwrap_or_default(), from)?;
        }
    }
    Ok(())
}

fn sectors(offset: u64, length: u64, sector: u64) -> Range<u64> {
    if length == 0 { 0..0 } else { offset / sector..(offset + length).div_ceil(sector) }
}
