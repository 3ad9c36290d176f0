use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Hashes in a full tile: tiles are 8 levels high.
pub const TILE_WIDTH: u16 = 256;
/// The highest level of tiles that an address can name.
const MAX_LEVEL: u8 = 63;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Hashes of full subtrees with `256^level` leaves each.
    Hashes(u8),
    /// The data of the leaves.
    Entries,
}

/// The address of a tile (C2SP tlog-tiles): as text `tile/<L>/<N>[.p/<W>]` or
/// `tile/entries/<N>[.p/<W>]`, relative to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileAddress {
    /// What it holds.
    pub level: Level,
    /// Its index within the level.
    pub index: u64,
    /// How many of its hashes or entries are meant, from 1 to [`TILE_WIDTH`].
    pub width: u16,
}

/// Why a text is not the address of a tile.
#[derive(Debug, Error)]
#[error("{0:?} is not tile/<level>/<index>[.p/<width>] in the form of C2SP tlog-tiles")]
pub struct TileError(String);

impl TileAddress {
    /// How many hashes or entries the tile at this place has in a tree of some size.
    pub fn width_at(level: Level, index: u64, size: u64) -> u16 {
        let shift = match level {
            Level::Hashes(level) => 8 * u32::from(level),
            Level::Entries => 0,
        };
        let total = size.checked_shr(shift).unwrap_or(0);
        let before = index.saturating_mul(u64::from(TILE_WIDTH));
        let width = total.saturating_sub(before).min(u64::from(TILE_WIDTH));
        u16::try_from(width).unwrap_or(TILE_WIDTH)
    }

    /// Whether this tile, as wide as it is, is part of a tree of some size.
    pub fn exists_at(&self, size: u64) -> bool {
        self.width <= Self::width_at(self.level, self.index, size)
    }
}

impl fmt::Display for TileAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Level::Hashes(level) => write!(f, "tile/{level}/")?,
            Level::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (place, group) in groups.iter().enumerate().rev() {
            match place {
                0 => write!(f, "{group:03}")?,
                _ => write!(f, "x{group:03}/")?,
            }
        }
        if self.width < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for TileAddress {
    type Err = TileError;

    fn from_str(text: &str) -> Result<Self, TileError> {
        let fail = || TileError(text.chars().take(100).collect());
        let address = read(text).ok_or_else(fail)?;
        // One tile has one address: no further zeros, no width of a full tile.
        if address.to_string() == text { Ok(address) } else { Err(fail()) }
    }
}

fn read(text: &str) -> Option<TileAddress> {
    let (level, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let level = match level {
        "entries" => Level::Entries,
        number => Level::Hashes(number.parse().ok().filter(|level| *level <= MAX_LEVEL)?),
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => {
            (index, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?)
        }
        None => (rest, TILE_WIDTH),
    };
    let mut number = 0u64;
    for group in index.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        number = number.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some(TileAddress { level, index: number, width })
}
