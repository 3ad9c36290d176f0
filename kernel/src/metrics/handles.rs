//! Handles of series, which each thread keeps: to look one up in the recorder takes making its key,
//! hashing it and a lock, several times for each request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};

use super::LabelValues;

/// Whether the recorder of the process is in place. What was looked up before counts nowhere.
static RECORDED: AtomicBool = AtomicBool::new(false);

/// Says that the recorder of the process is in place, and will be for as long as it runs: from now
/// on, handles are kept.
pub fn recorder_installed() {
    RECORDED.store(true, Ordering::Release);
}

/// The handles of a thread, of one kind. There are as many as the thread ever used, which is few:
/// labels take few values.
pub(super) struct Handles<H>(RefCell<HashMap<u64, Vec<Kept<H>>, BuildHasherDefault<Given>>>);

struct Kept<H> {
    name: &'static str,
    values: Box<[Box<str>]>,
    handle: H,
}

impl<H> Handles<H> {
    pub(super) fn new() -> Self {
        Self(RefCell::default())
    }

    /// Does something with the handle of a series, which is made where the thread has none yet.
    pub(super) fn with<T>(
        &self,
        name: &'static str,
        values: LabelValues<'_>,
        make: impl FnOnce() -> H,
        act: impl FnOnce(&H) -> T,
    ) -> T {
        if !RECORDED.load(Ordering::Acquire) {
            return act(&make());
        }
        let Ok(mut kept) = self.0.try_borrow_mut() else { return act(&make()) };
        let series = kept.entry(hash(name, values)).or_default();
        let is_it = |kept: &Kept<H>| {
            std::ptr::eq(kept.name, name)
                && kept.values.iter().map(|v| &**v).eq(values.iter().copied())
        };
        if let Some(found) = series.iter().find(|kept| is_it(kept)) {
            return act(&found.handle);
        }
        let handle = make();
        let done = act(&handle);
        let values = values.iter().map(|value| Box::from(*value)).collect();
        series.push(Kept { name, values, handle });
        done
    }
}

/// FNV-1a of the values, from the place of the name on.
fn hash(name: &'static str, values: LabelValues<'_>) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ (name.as_ptr() as u64).wrapping_mul(PRIME);
    for value in values {
        for byte in value.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        hash = (hash ^ 0xff).wrapping_mul(PRIME);
    }
    hash
}

/// Takes a hash for what it is.
#[derive(Default)]
struct Given(u64);

impl Hasher for Given {
    fn finish(&self) -> u64 {
        // The map tells keys apart by the upper bits, too.
        self.0 ^ self.0.rotate_right(29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_handle_is_made_once_for_its_series() {
        let (handles, made) = (Handles::new(), std::cell::Cell::new(0));
        let used = |name, values: LabelValues<'_>| {
            let make = || made.replace(made.get() + 1);
            handles.with(name, values, make, |handle: &i32| *handle)
        };
        assert_eq!((used("a", &[]), used("a", &[])), (0, 1), "nothing is kept without a recorder");
        recorder_installed();
        made.set(0);
        let first = [used("a", &[]), used("a", &["x"]), used("a", &["x", "y"]), used("b", &["x"])];
        assert_eq!(first, [0, 1, 2, 3]);
        assert_eq!((used("a", &["xy"]), used("a", &["x", "y"]), used("b", &["x"])), (4, 2, 3));
        assert_eq!(made.get(), 5);
    }
}
