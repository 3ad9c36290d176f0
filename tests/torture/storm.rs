//! The store alone in a storm: a process appends to the log and pours rows into the tables of
//! ledgers and projections, as a rebuild does, and is killed and cut off from power every few
//! hundred milliseconds. Far more passes through the store between two cuts than an instance would
//! write.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fedsx_kernel::Activity;
use fedsx_kernel::log::{
    Batch, Entry, Head, HeadFile, LogStore, Meta, SledOptions, SledStorage, Storage, Stream, Table,
};
use serde_json::{Map, json};

use crate::dice::Dice;
use crate::restore::{self, Cut, Taken};

/// Groups of rows in the table; all rows of a group are written at once.
const GROUPS: u64 = 300;
/// Entries read at once.
const PAGE: usize = 256;

/// What the storms came to.
#[derive(Default)]
pub struct Storms {
    pub storms: u64,
    pub acknowledged: u64,
    pub taken: Taken,
    pub failed: Vec<String>,
}

/// Runs storms over one data directory.
pub fn run(library: &Path, home: &Path, count: u64, dice: &Dice) -> Result<Storms> {
    if home.exists() {
        fs::remove_dir_all(home)?;
    }
    let (data, journal) = (home.join("data"), home.join("journal"));
    fs::create_dir_all(&data)?;
    fs::create_dir_all(&journal)?;
    let mut storms = Storms::default();
    let acknowledged = Arc::new(AtomicU64::new(0));
    while storms.storms < count {
        storms.storms += 1;
        if let Err(error) = storm(library, &data, &journal, &acknowledged, dice) {
            storms.failed.push(format!("storm {}: {error:#}", storms.storms));
            break;
        }
        let uncovered = restore::uncovered(&journal)?;
        if !uncovered.is_empty() {
            bail!("the power cut does not cover {uncovered:?}");
        }
        let cut = match dice.below(100) {
            0..15 => {
                restore::trim(&journal)?;
                continue;
            }
            15..35 => Cut::All,
            35..70 => Cut::Some { sector: 4096 },
            _ => Cut::Some { sector: 512 },
        };
        let taken = restore::cut(&data, &journal, cut, dice)?;
        storms.taken.writes += taken.writes;
        storms.taken.bytes += taken.bytes;
        storms.taken.names += taken.names;
    }
    storms.acknowledged = acknowledged.load(Ordering::SeqCst);
    if storms.failed.is_empty() {
        fs::remove_dir_all(home)?;
    }
    Ok(storms)
}

fn storm(
    library: &Path,
    data: &Path,
    journal: &Path,
    acknowledged: &Arc<AtomicU64>,
    dice: &Dice,
) -> Result<()> {
    let before = acknowledged.load(Ordering::SeqCst);
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--fedsx", "none", "--dir", "none", "--seed", &dice.next().to_string(), "--pour"])
        .arg(data)
        .env("LD_PRELOAD", library)
        .env("POWERCUT_DIR", data)
        .env("POWERCUT_JOURNAL", journal)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdout = BufReader::new(child.stdout.take().context("its output")?);
    let (whole, found) = mpsc::channel();
    let noted = acknowledged.clone();
    let reader = thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let mut words = line.split(' ');
            let (word, number) = (words.next(), words.next().and_then(|n| n.parse::<u64>().ok()));
            match (word, number) {
                (Some("whole"), Some(head)) => {
                    // The storm may have ended meanwhile.
                    let _ = whole.send(head);
                }
                (Some("acknowledged"), Some(head)) => {
                    noted.fetch_max(head, Ordering::SeqCst);
                }
                _ => {}
            }
        }
    });
    thread::sleep(dice.millis(20, if dice.percent(30) { 1500 } else { 500 }));
    let ended = child.try_wait()?;
    // It may have ended by itself.
    let _ = child.kill();
    let output = child.wait_with_output()?;
    // The reader ends with the output.
    let _ = reader.join();
    if let Some(status) = ended {
        bail!("it ended ({status}): {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    if let Ok(head) = found.try_recv()
        && head < before
    {
        bail!("{before} entries were acknowledged, {head} are there");
    }
    Ok(())
}

/// In the child: checks everything, then writes until it is killed.
pub fn pour(data: &Path, seed: u64) -> Result<()> {
    let dice = Dice::new(seed);
    let options = SledOptions {
        compress: dice.percent(50),
        memory_bytes: 1 << (14 + dice.below(9)),
        move_after: dice.millis(1, 200),
        ..SledOptions::default()
    };
    let storage = SledStorage::open_with(data, options)?;
    let (log, tables) = (storage.log(), [storage.ledgers(), storage.projections()]);
    let head = check(&*log, &tables)?;
    storage.check()?;
    say("whole", head)?;
    let heavy = dice.percent(60);
    // Few rows are written again so soon that sled uses their segments again within a few others.
    let groups = if dice.percent(50) { dice.below(30) + 1 } else { GROUPS };
    // While a projection is rebuilt, nothing may be appended, and so nothing synced, for long.
    let rebuilding = heavy && dice.percent(50);
    for table in tables {
        let pouring = dice.fork();
        thread::spawn(move || {
            let Err(error) = pour_rows(&*table, &pouring, groups, heavy);
            eprintln!("the table: {error:#}");
            std::process::exit(2);
        });
    }
    let mut head = head;
    let heads = HeadFile::new(data);
    loop {
        let batch = batch(&dice, &*log, head)?;
        log.append(&batch)?;
        head += batch.entries.len() as u64;
        say("acknowledged", head)?;
        if dice.percent(10)
            && let Some(last) = batch.entries.last()
        {
            heads.write(&Head { global_seq: last.global_seq, root: last.cid })?;
        }
        thread::sleep(if rebuilding { dice.millis(500, 3000) } else { dice.millis(0, 30) });
    }
}

/// Writes rows without end, as a rebuild does: nothing of it is synced but by the log.
fn pour_rows(
    table: &dyn Table,
    dice: &Dice,
    groups: u64,
    heavy: bool,
) -> Result<std::convert::Infallible> {
    loop {
        let group = dice.below(groups);
        let version = dice.next();
        let rows = (0..8u64).map(|row| {
            let filling = dice.index(if heavy { 4000 } else { 300 });
            (row_key(group, row), Some(row_value(version, filling)))
        });
        table.apply(rows.collect())?;
        if !heavy {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn say(word: &str, number: u64) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{word} {number}")?;
    out.flush()?;
    Ok(())
}

fn batch(dice: &Dice, log: &dyn LogStore, head: u64) -> Result<Batch> {
    let mut batch = Batch::default();
    let from = log.stream_len(&Stream::Local)?;
    for number in 0..=dice.below(8) {
        let length = if dice.percent(5) { 300_000 } else { 3000 };
        let mut content = Map::new();
        content.insert("type".into(), "Note".into());
        content.insert("actor".into(), "http://localhost:1/actors/storm".into());
        content.insert("salt".into(), crate::foreign::unique().into());
        content.insert("content".into(), json!("x".repeat(dice.index(length))));
        let activity = Activity::seal(content)?;
        batch.bodies.push((*activity.cid(), activity.to_body()?, None));
        batch.entries.push(Entry {
            global_seq: head + 1 + number,
            stream: Stream::Local,
            stream_seq: from + number,
            cid: *activity.cid(),
            first: true,
            meta: Meta::default(),
        });
    }
    Ok(batch)
}

/// Reads the whole log and the whole tables.
fn check(log: &dyn LogStore, tables: &[Arc<dyn Table>]) -> Result<u64> {
    let head = log.head()?;
    let mut after = 0;
    loop {
        let entries = log.read(after, PAGE)?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            after += 1;
            if entry.global_seq != after || entry.stream_seq + 1 != after {
                bail!("entry {after} is missing: {entry:?}");
            }
            let body = log.body(&entry.cid)?.with_context(|| format!("body {after}"))?;
            if *Activity::from_body(&body)?.cid() != entry.cid {
                bail!("body {after} is another one");
            }
        }
    }
    if after != head {
        bail!("the head is {head}, the last entry {after}");
    }
    for table in tables {
        check_rows(&**table)?;
    }
    Ok(head)
}

/// Every group of rows is there as it was written at once, or not at all.
fn check_rows(table: &dyn Table) -> Result<()> {
    for group in 0..GROUPS {
        let rows = table.scan(&group.to_be_bytes(), None, 16)?;
        let versions: Vec<u64> = rows.iter().filter_map(|(_, value)| version(value)).collect();
        let same = versions.windows(2).all(|pair| pair.first() == pair.last());
        if versions.len() != rows.len() || !same || !matches!(rows.len(), 0 | 8) {
            bail!("group {group} of the table was not written at once: {versions:?}");
        }
    }
    Ok(())
}

fn row_key(group: u64, row: u64) -> Vec<u8> {
    [group.to_be_bytes(), row.to_be_bytes()].concat()
}

fn row_value(version: u64, filling: usize) -> Vec<u8> {
    let filler = u8::try_from(version & 0xff).unwrap_or(0);
    [version.to_be_bytes().to_vec(), vec![filler; filling]].concat()
}

/// The version of a value that is whole.
fn version(value: &[u8]) -> Option<u64> {
    let (version, filling) = value.split_first_chunk::<8>()?;
    let version = u64::from_be_bytes(*version);
    let filler = u8::try_from(version & 0xff).unwrap_or(0);
    filling.iter().all(|byte| *byte == filler).then_some(version)
}
