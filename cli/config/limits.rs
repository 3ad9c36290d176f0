//! The options that limit what the server takes.

use anyhow::{Result, ensure};
use fedsx_http::HttpOptions;

use super::ServeArgs;
use super::values::Time;

/// What the server takes and what not, by these options.
///
/// # Errors
/// Where a limit would let nothing through.
pub(super) fn http(args: &ServeArgs) -> Result<HttpOptions> {
    let usual = HttpOptions::default();
    let count = |given: Option<u32>, usual: usize| given.map_or(usual, |count| count as usize);
    let time = |given: Option<Time>, usual| given.map_or(usual, |time| time.0);
    let least = usual.max_body_bytes as u64;
    let body_memory = args.body_memory.map_or(usual.body_memory_bytes as u64, |size| size.0);
    ensure!(body_memory >= least, "body_memory: at least {least} bytes, as one body may have");
    let connections = count(args.connections, usual.connections);
    ensure!(connections > 0, "connections: at least 1");
    let requests_in_flight = count(args.requests_in_flight, usual.requests_in_flight);
    ensure!(requests_in_flight > 0, "requests_in_flight: at least 1");
    Ok(HttpOptions {
        trusted_proxies: args.trusted_proxies.clone().unwrap_or_default().0,
        requests_per_second: args.requests_per_second.unwrap_or(usual.requests_per_second),
        actor_requests_per_second: args
            .actor_requests_per_second
            .unwrap_or(usual.actor_requests_per_second),
        peer_reads_per_second: args.peer_reads_per_second.unwrap_or(usual.peer_reads_per_second),
        connections,
        concurrent_per_address: count(args.concurrent_per_address, usual.concurrent_per_address),
        requests_in_flight,
        queueing_delay: time(args.queueing_delay, usual.queueing_delay),
        // Counting permits, the memory of bodies has 32 bits.
        body_memory_bytes: u32::try_from(body_memory).unwrap_or(u32::MAX) as usize,
        header_timeout: time(args.header_timeout, usual.header_timeout),
        body_timeout: time(args.body_timeout, usual.body_timeout),
        response_timeout: time(args.response_timeout, usual.response_timeout),
        authorized_fetch: args.authorized_fetch.unwrap_or(usual.authorized_fetch),
        ..usual
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn limits_that_let_nothing_through_are_refused() {
        let of = |text: &str| http(&super::super::file::parse(text).expect("options"));
        for text in ["connections = 0", "requests_in_flight = 0", "body_memory = \"1023KiB\""] {
            let error = of(text).expect_err(text).to_string();
            assert!(text.starts_with(error.split(':').next().unwrap()), "{error}");
        }
        let given = of("trusted_proxies = \"10.0.0.0/8, ::1\"\nqueueing_delay = \"5ms\"").unwrap();
        assert_eq!(given.trusted_proxies.len(), 2);
        assert_eq!(given.queueing_delay.as_millis(), 5);
    }
}
