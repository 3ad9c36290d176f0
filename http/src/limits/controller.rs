//! Which share of requests to refuse so that the others do not wait long: a proportional integral
//! controller of the queueing delay, as in PIE (RFC 8033, section 4.2), without its tuning for
//! links of many speeds.

/// How far the share follows a delay that stays off its target.
const ALPHA: f64 = 0.03;
/// How far it follows a delay that changes.
const BETA: f64 = 0.2;
/// Delays count up to so many times the target, so that one long pause does not refuse everything.
const MOST: f64 = 4.0;
/// The share changes by so much in an update at most, as in RFC 8033, section 5.5: a pause in which
/// somebody else has the processor is no reason to refuse nearly everything until the next update.
const MAX_STEP: f64 = 0.1;
/// Some requests always go through, since only they show that the delay is over.
const MAX_SHARE: f64 = 0.98;

/// The controller; its times are in units of the target.
#[derive(Clone, Debug, Default)]
pub(super) struct Controller {
    share: f64,
    last: f64,
}

impl Controller {
    /// Takes a delay, as a multiple of the target, that was measured an update after the last one.
    /// Gives the share of requests to refuse, 0 to 1.
    pub(super) fn update(&mut self, delay: f64) -> f64 {
        let delay = delay.clamp(0.0, MOST);
        let step = ALPHA * (delay - 1.0) + BETA * (delay - self.last);
        let step = step.clamp(-MAX_STEP, MAX_STEP);
        self.last = delay;
        self.share = (self.share + step).clamp(0.0, MAX_SHARE);
        self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers 100 requests in each update, with a queue; delays in targets, of which
    /// two updates make one. Gives what it answered, and the longest delay of the second half.
    fn served(arrivals: impl Fn(usize) -> f64, updates: usize) -> (f64, f64, f64) {
        let (mut controller, mut share) = (Controller::default(), 0.0);
        let (mut queue, mut answered, mut longest) = (0.0f64, 0.0, 0.0f64);
        for update in 0..updates {
            queue = (queue + arrivals(update) * (1.0 - share)).min(1000.0);
            let done = queue.min(100.0);
            queue -= done;
            answered += done;
            let delay = queue / 100.0 / 2.0;
            if update > updates / 2 {
                longest = longest.max(delay);
            }
            share = controller.update(delay);
        }
        (answered, longest, share)
    }

    #[test]
    fn at_three_times_the_capacity_all_of_it_is_used_and_nobody_waits_long() {
        for (load, most_delay) in [(1.5, 2.0), (3.0, 2.0), (10.0, 3.0)] {
            let (answered, longest, share) = served(|_| load * 100.0, 400);
            assert!(answered >= 0.95 * 400.0 * 100.0, "{load}: {answered}");
            assert!(longest <= most_delay, "{load}: {longest} targets");
            assert!((share - (1.0 - 1.0 / load)).abs() < 0.15, "{load}: {share}");
        }
    }

    #[test]
    fn one_pause_does_not_refuse_nearly_everything() {
        let mut controller = Controller::default();
        let shares: Vec<f64> =
            [0.2, 9.0, 0.2, 0.2].into_iter().map(|delay| controller.update(delay)).collect();
        assert!(shares.iter().all(|share| *share < 0.15), "{shares:?}");
        assert!(shares.last().is_some_and(|share| *share == 0.0), "{shares:?}");
    }

    #[test]
    fn nothing_is_refused_below_the_capacity_and_after_an_overload() {
        let (answered, longest, share) = served(|_| 90.0, 400);
        assert!((answered - 36_000.0).abs() < 1.0 && longest == 0.0 && share == 0.0);
        let (_, _, share) = served(|update| if update < 200 { 300.0 } else { 50.0 }, 300);
        assert!(share == 0.0, "{share}");
    }
}
