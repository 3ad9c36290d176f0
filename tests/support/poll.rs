//! Waiting for something to become true, with a deadline.

use std::time::{Duration, Instant};

/// How long a test waits for what normally takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until there is an answer; panics with `what` when the deadline passes first.
pub fn eventually<T>(deadline: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(200));
    }
}

/// Asks for the whole duration and panics as soon as the answer is no: for what must not happen.
pub fn holds_for(duration: Duration, what: &str, mut ask: impl FnMut() -> bool) {
    let started = Instant::now();
    while started.elapsed() < duration {
        assert!(ask(), "does not hold any more: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Runs the same work in several threads at once; gives all results.
pub fn at_once<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = std::sync::Barrier::new(threads);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|number| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    start.wait();
                    work(number)
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("the thread ends well")).collect()
    })
}
