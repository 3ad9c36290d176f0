use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::client::inherited;

type Flight<T> = Shared<BoxFuture<'static, Option<T>>>;

/// Work that is done once for everyone who asks for it at the same time.
pub(super) struct Flights<T: Clone>(Arc<Mutex<HashMap<String, Flight<T>>>>);

impl<T: Clone> Default for Flights<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(HashMap::new())))
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// Joins the flight with this key or starts it. The work goes on where the one who asked
    /// gives up. `None` where it panicked.
    pub async fn join<F>(&self, key: &str, work: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let flight = {
            let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match flights.get(key) {
                Some(flight) => flight.clone(),
                None => {
                    let (task, all, own) =
                        (tokio::spawn(inherited(work())), self.0.clone(), key.to_owned());
                    let flight = async move {
                        let landed = task.await.ok();
                        all.lock().unwrap_or_else(PoisonError::into_inner).remove(&own);
                        landed
                    };
                    let flight = flight.boxed().shared();
                    flights.insert(key.to_owned(), flight.clone());
                    flight
                }
            }
        };
        flight.await
    }
}
