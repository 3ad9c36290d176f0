//! All private keys of an instance under another master key.
//!
//! Keys are sealed anew in batches, so for a while some are under the one and some under the other.
//! Whoever is interrupted does it again with the same two master keys: what is under the new one
//! already stays as it is.

use super::ring::{PREFIX, RingError};
use super::{Vault, VaultError};
use crate::log::Table;
use crate::runtime::Random;

/// Keys that are written at once.
const BATCH: usize = 500;

/// How many private keys were sealed anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Those that were under the old master key.
    pub keys: u64,
    /// Those that an earlier run had sealed anew.
    pub before: u64,
}

/// Seals every private key of a ledger anew, and reads all of them again. Durable after the log's
/// next sync.
///
/// # Errors
/// Where a key is under neither master key, or the ledger fails; keys that were sealed anew before
/// stay so.
pub fn reseal(
    ledger: &dyn Table,
    old: &Vault,
    new: &Vault,
    random: &dyn Random,
) -> Result<Resealed, RingError> {
    let mut resealed = Resealed::default();
    each(ledger, |rows| {
        let mut writes = Vec::new();
        for (place, id, sealed) in rows {
            if new.check(&id, &sealed).is_ok() {
                resealed.before += 1;
                continue;
            }
            let anew = old.reseal(&id, &sealed, new, random).map_err(failed(&id))?;
            resealed.keys += 1;
            writes.push((place, Some(anew)));
        }
        if writes.is_empty() { Ok(()) } else { Ok(ledger.apply(writes)?) }
    })?;
    each(ledger, |rows| {
        rows.into_iter()
            .try_for_each(|(_, id, sealed)| new.check(&id, &sealed).map_err(failed(&id)))
    })?;
    Ok(resealed)
}

/// Checks that a master key is the one of a ledger. Keys are sealed anew in the order of their
/// places, so that the first and the last one tell.
///
/// # Errors
/// Where one is under another master key, or the ledger fails.
pub fn check(ledger: &dyn Table, vault: &Vault) -> Result<(), RingError> {
    let ends = ledger.scan(PREFIX, None, 1)?.into_iter().chain(ledger.scan_back(PREFIX, None, 1)?);
    for (place, sealed) in ends {
        let id = id(&place);
        vault.check(&id, &sealed).map_err(failed(&id))?;
    }
    Ok(())
}

type Row = (Vec<u8>, String, Vec<u8>);

fn each(
    ledger: &dyn Table,
    mut take: impl FnMut(Vec<Row>) -> Result<(), RingError>,
) -> Result<(), RingError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = ledger.scan(PREFIX, after.as_deref(), BATCH)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        take(
            page.into_iter().map(|(place, sealed)| (place.clone(), id(&place), sealed)).collect(),
        )?;
    }
}

fn id(place: &[u8]) -> String {
    String::from_utf8_lossy(place.get(PREFIX.len()..).unwrap_or_default()).into_owned()
}

fn failed(id: &str) -> impl FnOnce(VaultError) -> RingError {
    let id = id.to_owned();
    move |source| RingError::Vault { id, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::keys::{KeyRing, MasterKey, SecretKey};
    use crate::log::{MemoryStorage, Storage as _};
    use crate::runtime::SeededRandom;

    #[test]
    fn an_interrupted_change_is_seen_and_ended() {
        let random = SeededRandom::new(3);
        let [old, new] = [(); 2].map(|()| MasterKey::generate(&random));
        let (old, new) = (Vault::new(old), Vault::new(new));
        let ledger = MemoryStorage::default().ledgers();
        check(ledger.as_ref(), &old).unwrap();
        let ring = KeyRing::new(old.clone(), ledger.clone());
        let keys: Vec<_> = (0..1200).map(|n| format!("https://a.example/keys/{n}")).collect();
        for id in &keys {
            ring.keep(id, &SecretKey::generate_ed25519(&random), &random).unwrap();
        }
        let before = ring.secret("https://a.example/keys/7").unwrap().public();
        check(ledger.as_ref(), &old).unwrap();
        check(ledger.as_ref(), &new).unwrap_err();

        // Interrupted after the first key.
        let (place, sealed) = ledger.scan(PREFIX, None, 1).unwrap().remove(0);
        let anew = old.reseal(&id(&place), &sealed, &new, &random).unwrap();
        ledger.apply(vec![(place, Some(anew))]).unwrap();
        for vault in [&old, &new] {
            check(ledger.as_ref(), vault).unwrap_err();
        }
        let done = reseal(ledger.as_ref(), &old, &new, &random).unwrap();
        assert_eq!(done, Resealed { keys: 1199, before: 1 });
        check(ledger.as_ref(), &new).unwrap();
        check(ledger.as_ref(), &old).unwrap_err();
        let again = reseal(ledger.as_ref(), &old, &new, &random).unwrap();
        assert_eq!(again, Resealed { keys: 0, before: 1200 });

        let ring = KeyRing::new(new, ledger.clone());
        assert_eq!(ring.secret("https://a.example/keys/7").unwrap().public(), before);
        let third = Vault::new(MasterKey::generate(&random));
        reseal(ledger.as_ref(), &third, &third, &random).unwrap_err();
    }
}
