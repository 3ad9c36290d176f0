use std::sync::{Mutex, PoisonError};

use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, RngCore, SeedableRng};

/// A source of random bytes, fit for keys.
pub trait Random: Send + Sync + 'static {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

impl dyn Random {
    /// An array of random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A fraction from 0 up to, not including, 1.
    #[allow(clippy::cast_precision_loss)]
    pub fn fraction(&self) -> f64 {
        (u64::from_be_bytes(self.bytes()) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The operating system's randomness.
pub struct OsRandom;

impl Random for OsRandom {
    #[allow(clippy::expect_used, reason = "without randomness no key may be made")]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system gives random bytes");
    }
}

/// Repeatable randomness for simulations.
pub struct SeededRandom(Mutex<ChaCha20Rng>);

impl SeededRandom {
    /// A source that always gives the same bytes for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(ChaCha20Rng::seed_from_u64(seed)))
    }
}

impl Random for SeededRandom {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(buffer);
    }
}

/// A [`Random`] as the interface that the RSA library asks for.
pub struct RandomCore<'a>(pub &'a dyn Random);

impl RngCore for RandomCore<'_> {
    fn next_u32(&mut self) -> u32 {
        u32::from_be_bytes(self.0.bytes())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_be_bytes(self.0.bytes())
    }

    fn fill_bytes(&mut self, buffer: &mut [u8]) {
        self.0.fill(buffer);
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill(buffer);
        Ok(())
    }
}

impl CryptoRng for RandomCore<'_> {}
