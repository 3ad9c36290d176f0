//! Projections: what is stored must be what a rebuild gives.

use std::sync::Arc;

use anyhow::{Result, bail};
use fedsx_genesis::script::Scripts;
use fedsx_kernel::Base;
use fedsx_kernel::log::{Record, Storage, Table};
use fedsx_projections::{
    Context, Digest, Fold, Rebuilds, StoreSource, builtin, is_stale, published, stored_digest,
};

use super::Counts;

/// The projections that are compared, and their rebuilds.
pub(super) struct Rebuilt {
    stored: Vec<(String, Digest)>,
    rebuilds: Rebuilds,
    stale: Vec<String>,
}

impl Rebuilt {
    /// `scratch` is an empty table that the rebuilds are made in.
    pub(super) fn new(storage: &dyn Storage, scratch: Arc<dyn Table>, base: &Base) -> Result<Self> {
        let (table, store) = (storage.projections(), storage.log());
        let mut folds = builtin();
        let published = published::published(&*store, base, &Scripts::new())?;
        folds.extend(published.into_iter().map(|fold| fold as Arc<dyn Fold>));
        let (mut stored, mut compared, mut stale) = (Vec::new(), Vec::new(), Vec::new());
        for fold in folds {
            if is_stale(&*table, fold.as_ref())? {
                stale.push(fold.name().to_owned());
                continue;
            }
            let digest = stored_digest(&table, fold.as_ref())?;
            // One that had not caught up when the server stopped is compared where it is.
            let until = digest.global_seq;
            stored.push((fold.name().to_owned(), digest));
            compared.push((fold, until));
        }
        let (source, context) = (Arc::new(StoreSource(store)), Context { base: base.clone() });
        let rebuilds = Rebuilds::new(scratch, source, context, compared);
        Ok(Self { stored, rebuilds, stale })
    }

    /// Folds the next records of the log.
    pub(super) fn take(&mut self, records: &[Arc<Record>]) -> Result<()> {
        Ok(self.rebuilds.take(records)?)
    }

    /// Compares.
    pub(super) fn finish(self, counts: &mut Counts) -> Result<()> {
        for ((name, stored), rebuilt) in self.stored.into_iter().zip(self.rebuilds.finish()?) {
            if stored != rebuilt {
                bail!(
                    "the projection {name} has the digest {} at {}, a rebuild gives {}",
                    stored.digest,
                    stored.global_seq,
                    rebuilt.digest
                );
            }
            counts.projections += 1;
        }
        counts.stale_projections = self.stale;
        Ok(())
    }
}
