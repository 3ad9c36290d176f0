//! Reading projections: now, and as they were.

use std::sync::Arc;

use fedsx_kernel::Cid;
use fedsx_kernel::state::{StateView, key};
use serde_json::Value;

use super::handle::Projections;
use super::shared::{LiveView, Served, Shared};
use crate::cursors::Cursors;
use crate::error::QueryError;
use crate::query::{self, Item, Next, Page, Query};
use crate::reader::{Judge, Reader};
use crate::render::{Rendered, UpTo};
use crate::shield::Shield;
use crate::table_state::Rows;

/// How often a page is read anew when a rebuild ends while it is read.
const TRIES: usize = 3;

/// How a projection stands: with the head of the log, all that what it shows anyone depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    served: Served,
    definition: Option<Cid>,
}

impl Projections {
    /// How a projection stands now.
    ///
    /// # Errors
    /// [`QueryError::Unknown`].
    pub fn point(&self, name: &str) -> Result<Point, QueryError> {
        let shared = self.shared(name)?;
        Ok(Point { served: shared.served(), definition: shared.fold.definition().copied() })
    }

    /// The served state, for typed reads by code that checks itself who is shown what. Reading
    /// blocks.
    ///
    /// # Errors
    /// [`QueryError::Unknown`].
    pub fn view(&self, name: &str) -> Result<Arc<dyn StateView>, QueryError> {
        Ok(Arc::new(LiveView { shared: self.shared(name)?, log: self.0.log.clone() }))
    }

    /// One page of a projection, as a reader may see it. What [`Page`] promises holds. Reading
    /// blocks.
    ///
    /// # Errors
    /// [`QueryError::Unknown`], and where the table cannot be read.
    pub fn query(&self, name: &str, query: &Query, reader: &Reader) -> Result<Page, QueryError> {
        let shared = self.shared(name)?;
        let query = self.resumed(name, query)?;
        for _ in 0..TRIES {
            let served = shared.served();
            let (items, next) = self.rows(&shared, &shared.state(served.build), &query, reader)?;
            // A build that was replaced meanwhile may be half gone.
            if shared.live() == served.build {
                return Ok(Page {
                    name: name.to_owned(),
                    version: served.build.version,
                    global_seq: served.global_seq,
                    at: None,
                    items,
                    next: self.cursor(name, next),
                });
            }
        }
        Err(QueryError::Unavailable(name.to_owned()))
    }

    /// One page of what a projection was at an earlier position. A reader is shown what the row
    /// showed it then, if it may see the row as it is now as well, and the row was not withdrawn
    /// since. Reading blocks, and may fold up to [`Options::past_records`] records.
    ///
    /// # Errors
    /// Positions that the log has not reached, that take too much to fold, or that this
    /// projection does not keep; too many such queries at once.
    pub fn past(
        &self,
        name: &str,
        at: u64,
        query: &Query,
        reader: &Reader,
    ) -> Result<Page, QueryError> {
        let shared = self.shared(name)?;
        let head = self.0.log.head();
        if at > head {
            return Err(QueryError::Future { head });
        }
        let query = self.resumed(name, query)?;
        let fold = &*shared.fold;
        let folded = self.0.past.at(fold, &self.0.context, &self.0.log, at)?;
        let now = shared.state(shared.live());
        let bodies = UpTo::now(&self.0.log);
        let now_shown = Rendered { fold, state: &now, bodies: &bodies };
        let judge = self.judge(&shared, reader);
        let mut show = |row: &[String], value: Value| {
            let row_key: Vec<&str> = row.iter().map(String::as_str).collect();
            if let Some(shown) = now_shown.get(&key(&row_key))?
                && (fold.withdrawn(&shown) || judge.view(row, shown)?.is_none())
            {
                return Ok(None);
            }
            Ok(judge.row(&folded.state, at, row, value)?)
        };
        let (items, next) = query::read(&folded.state, &query, &mut show)?;
        Ok(Page {
            name: name.to_owned(),
            version: fold.version(),
            global_seq: at,
            at: Some(at),
            items,
            next: self.cursor(name, next),
        })
    }

    fn rows(
        &self,
        shared: &Shared,
        state: &dyn Rows,
        query: &Query,
        reader: &Reader,
    ) -> Result<(Vec<Item>, Option<Next>), QueryError> {
        let judge = self.judge(shared, reader);
        query::read(state, query, &mut |row, held| Ok(judge.row(state, u64::MAX, row, held)?))
    }

    pub(super) fn judge<'a>(&'a self, shared: &'a Shared, reader: &'a Reader) -> Judge<'a> {
        let (base, log) = (&self.0.context.base, &self.0.log);
        let shield = Shield::new(base, log, reader);
        Judge { fold: &*shared.fold, base, log, reader, shield }
    }

    /// The query with the key in place of a cursor that only names it.
    fn resumed(&self, name: &str, query: &Query) -> Result<Query, QueryError> {
        let mut query = query.clone();
        if let Some(cursor) = query.after.as_deref().filter(|after| Cursors::is_cursor(after)) {
            query.after = Some(self.0.cursors.find(name, cursor).ok_or(QueryError::Forgotten)?);
        }
        Ok(query)
    }

    fn cursor(&self, name: &str, next: Option<Next>) -> Option<String> {
        match next? {
            Next::Shown(key) => Some(key),
            Next::Hidden(key) => Some(self.0.cursors.keep(name, key, &*self.0.runtime.random)),
        }
    }
}
