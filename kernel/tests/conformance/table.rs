//! Tables: ordered keys and values beside the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedsx_kernel::log::{Pairs, Table, TableWrite};

use crate::provider::Provider;

fn tables(provider: &impl Provider) -> [Arc<dyn Table>; 2] {
    [provider.storage().projections(), provider.storage().ledgers()]
}

fn put(key: &[u8], value: &[u8]) -> TableWrite {
    (key.to_vec(), Some(value.to_vec()))
}

/// What a scan has to give.
pub fn scanned(
    model: &BTreeMap<Vec<u8>, Vec<u8>>,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Pairs {
    model
        .iter()
        .filter(|(key, _)| key.starts_with(prefix))
        .filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after))
        .take(limit)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// What a scan from the end has to give.
pub fn scanned_back(
    model: &BTreeMap<Vec<u8>, Vec<u8>>,
    prefix: &[u8],
    before: Option<&[u8]>,
    limit: usize,
) -> Pairs {
    model
        .iter()
        .rev()
        .filter(|(key, _)| key.starts_with(prefix))
        .filter(|(key, _)| before.is_none_or(|before| key.as_slice() < before))
        .take(limit)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

pub fn scans_at_every_boundary<P: Provider>() {
    let keys: Vec<Vec<u8>> = [
        &b""[..],
        b"\0",
        b"\0\0",
        b"a",
        b"a\0",
        b"aa",
        b"ab",
        b"a\xff",
        b"a\xff\xff",
        b"b",
        b"\xfe",
        b"\xff",
        b"\xff\0",
        b"\xff\xff",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let provider = P::open();
    for table in tables(&provider) {
        // The two tables of a store do not see each other.
        assert!(table.scan(b"", None, 9).unwrap().is_empty());
        let model: BTreeMap<_, _> =
            keys.iter().map(|key| (key.clone(), [key.as_slice(), b"!"].concat())).collect();
        table.apply(model.iter().map(|(key, value)| put(key, value)).collect()).unwrap();
        let mut edges: Vec<Option<&[u8]>> = keys.iter().map(|key| Some(key.as_slice())).collect();
        edges.extend([None, Some(&b"aaa"[..]), Some(b"\xff\xff\xff"), Some(b"\x01")]);
        for prefix in &keys {
            for edge in &edges {
                for limit in [0, 1, 3, 100] {
                    let case = format!("{prefix:?} {edge:?} {limit}");
                    let found = table.scan(prefix, *edge, limit).unwrap();
                    assert_eq!(found, scanned(&model, prefix, *edge, limit), "{case}");
                    let found = table.scan_back(prefix, *edge, limit).unwrap();
                    assert_eq!(found, scanned_back(&model, prefix, *edge, limit), "back {case}");
                }
            }
        }
        for (key, value) in &model {
            assert_eq!(table.get(key).unwrap().as_ref(), Some(value));
        }
        assert_eq!(table.get(b"ac").unwrap(), None);
    }
}

pub fn all_below_a_prefix_are_removed<P: Provider>() {
    let provider = P::open();
    for table in tables(&provider) {
        let key = |number: u32| [b"of ".as_slice(), &number.to_be_bytes()].concat();
        for part in 0..5 {
            let some = (part * 500..(part + 1) * 500).map(|number| put(&key(number), b"one"));
            table.apply(some.collect()).unwrap();
        }
        table.apply(vec![put(b"of", b"before"), put(b"on", b"after")]).unwrap();
        assert_eq!(table.remove_all(b"of ").unwrap(), 2500);
        assert_eq!(table.remove_all(b"of ").unwrap(), 0);
        let left = table.scan(b"", None, 10).unwrap();
        let expected = [(b"of".to_vec(), b"before".to_vec()), (b"on".to_vec(), b"after".to_vec())];
        assert_eq!(left, expected);
    }
}

pub fn batches_are_atomic<P: Provider>() {
    let provider = P::open();
    for table in tables(&provider) {
        table.apply(vec![put(b"a", b"1"), put(b"b", b"1")]).unwrap();
        // The last write to a key wins.
        let writes = vec![put(b"a", b"2"), (b"b".to_vec(), None), put(b"b", b"3"), put(b"c", b"1")];
        table.apply(writes).unwrap();
        table.apply(vec![put(b"c", b"2"), (b"c".to_vec(), None)]).unwrap();
        assert_eq!(table.get(b"a").unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(table.get(b"b").unwrap().as_deref(), Some(&b"3"[..]));
        assert_eq!(table.get(b"c").unwrap(), None);
        table.apply(Vec::new()).unwrap();
        // Whoever reads sees both of two keys that are written together, or neither.
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 0..300u32 {
                    let value = round.to_be_bytes();
                    table.apply(vec![put(b"x", &value), put(b"y", &value)]).unwrap();
                }
            });
            while !writer.is_finished() {
                let pairs = table.scan(b"y", None, 1).unwrap();
                let later = table.get(b"x").unwrap();
                if let Some((_, y)) = pairs.first() {
                    assert!(later.unwrap() >= *y, "x is written with y");
                }
            }
        });
    }
}

pub fn values_of_every_size<P: Provider>() {
    let mut provider = P::open();
    let sizes = [0, 1, 5980, 5990, 5999, 6000, 6001, 12_000, 100_000, 1_100_000, 3, 70_000, 0];
    let value = |round: usize, size: usize| vec![u8::try_from(round).unwrap(); size];
    for (round, size) in sizes.iter().enumerate() {
        let other = sizes[(round + 5) % sizes.len()];
        for table in tables(&provider) {
            let writes = vec![
                put(b"grows and shrinks", &value(round, *size)),
                put(format!("stays {round}").as_bytes(), &value(round, *size)),
                // Written twice in one batch, with other sizes.
                put(b"twice", &value(round, *size)),
                put(b"twice", &value(round, other)),
                if round % 3 == 0 {
                    (b"comes and goes".to_vec(), None)
                } else {
                    put(b"comes and goes", &value(round, other))
                },
            ];
            table.apply(writes).unwrap();
        }
        provider.storage().sync().unwrap();
        provider.check_files();
        if round % 4 == 3 {
            provider = provider.reopen();
        }
        for table in tables(&provider) {
            assert_eq!(table.get(b"grows and shrinks").unwrap(), Some(value(round, *size)));
            assert_eq!(table.get(b"twice").unwrap(), Some(value(round, other)));
            let goes = table.get(b"comes and goes").unwrap();
            assert_eq!(goes, (round % 3 != 0).then(|| value(round, other)));
            let stays = table.scan(b"stays", None, 100).unwrap();
            assert_eq!(stays.len(), round + 1);
            let back = table.scan_back(b"stays", None, 100).unwrap();
            assert!(stays.iter().eq(back.iter().rev()));
        }
    }
}

pub fn reopening<P: Provider>() {
    let mut provider = P::open();
    let mut model = BTreeMap::new();
    for round in 0..5u8 {
        for n in 0..200u8 {
            model.insert(vec![n, round], vec![round; usize::from(n)]);
        }
        model.retain(|key, _| key[0] % 11 != round);
        for table in tables(&provider) {
            let mut writes: Vec<_> =
                (0..200u8).map(|n| put(&[n, round], &vec![round; usize::from(n)])).collect();
            let gone = (0..200u8).filter(|n| n % 11 == round);
            writes.extend(gone.flat_map(|n| (0..=round).map(move |r| (vec![n, r], None))));
            table.apply(writes).unwrap();
        }
        provider.storage().sync().unwrap();
        provider = provider.reopen();
        for table in tables(&provider) {
            assert_eq!(table.scan(b"", None, 9999).unwrap(), scanned(&model, b"", None, 9999));
        }
    }
}

pub fn writing_from_many_threads<P: Provider>() {
    let provider = P::open();
    for table in tables(&provider) {
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let table = &table;
                scope.spawn(move || {
                    for n in 0..150u8 {
                        let value = vec![n; usize::from(n) * 60];
                        table
                            .apply(vec![put(&[thread, n], &value), put(&[9, thread], &[n])])
                            .unwrap();
                        assert_eq!(table.get(&[thread, n]).unwrap(), Some(value));
                    }
                });
            }
        });
        for thread in 0..4 {
            assert_eq!(table.scan(&[thread], None, 999).unwrap().len(), 150);
            assert_eq!(table.get(&[9, thread]).unwrap(), Some(vec![149]));
        }
    }
    provider.check_files();
}
