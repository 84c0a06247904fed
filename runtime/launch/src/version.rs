//! Which PTX a driver reads.

use einloom_artifact::PtxVersion;

/// CUDA version of a driver -> the newest PTX that it reads (PTX ISA, "Release Notes").
const NEWEST: [(u32, (u32, u32)); 11] = [
    (12_000, (8, 0)),
    (12_010, (8, 1)),
    (12_020, (8, 2)),
    (12_030, (8, 3)),
    (12_040, (8, 4)),
    (12_050, (8, 5)),
    (12_060, (8, 5)),
    (12_070, (8, 6)),
    (12_080, (8, 7)),
    (12_090, (8, 8)),
    (13_000, (9, 0)),
];

/// The newest PTX that a driver of this CUDA version reads; `None` for a driver that is newer than the table, which reads
/// all PTX that this version of einloom writes.
pub(crate) fn newest_ptx(driver: u32) -> Option<PtxVersion> {
    let (last, _) = NEWEST[NEWEST.len() - 1];
    if driver > last {
        return None;
    }
    let known = NEWEST.iter().rev().find(|(version, _)| *version <= driver);
    // Before CUDA 12 the runtime does not start at all.
    let (major, minor) = known.map_or((0, 0), |(_, ptx)| *ptx);
    Some(PtxVersion { major, minor })
}

#[cfg(test)]
mod tests {
    use super::newest_ptx;

    #[test]
    fn drivers_read_the_ptx_of_their_release() {
        let newest = |driver| newest_ptx(driver).map(|v| v.to_string());
        assert_eq!(newest(12_040).as_deref(), Some("8.4"));
        assert_eq!(newest(12_065).as_deref(), Some("8.5"));
        assert_eq!(newest(11_080).as_deref(), Some("0.0"));
        assert_eq!(newest(13_010), None);
    }
}
