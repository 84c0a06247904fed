//! The counter-based random function of the language: Philox 4x32-10.

/// Ten rounds over `counter` with `key` (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let even = u64::from(c[0]) * 0xD251_1F53;
        let odd = u64::from(c[2]) * 0xCD9E_8D57;
        c = [
            (odd >> 32) as u32 ^ c[1] ^ k[0],
            odd as u32,
            (even >> 32) as u32 ^ c[3] ^ k[1],
            even as u32,
        ];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// `uniform(seed, i, j, ..)`: a multiple of 2^-24 in [0, 1), exact in f32. The key is the seed, low word first; the
/// counters are the low 32 bits of up to four ints, absent ones 0; the top 24 bits of the first word are the value.
pub fn uniform(args: &[i64]) -> f64 {
    let (seed, counters) = args.split_first().unwrap_or((&0, &[]));
    let mut counter = [0u32; 4];
    for (slot, value) in counter.iter_mut().zip(counters) {
        *slot = *value as u32;
    }
    let word = philox4x32(counter, [*seed as u32, (*seed >> 32) as u32])[0];
    f64::from(word >> 8) / f64::from(1u32 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // Known-answer vectors of the Random123 distribution.
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }
}
