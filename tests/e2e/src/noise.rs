//! Bytes that cannot be mistaken for others.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Random bytes, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut noise = vec![0; length];
    StdRng::seed_from_u64(seed).fill(noise.as_mut_slice());
    noise
}
