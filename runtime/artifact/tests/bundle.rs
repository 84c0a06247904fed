//! The bundle: round trips, lazily read entries, and refusal of everything else without a panic.

mod common;

use common::{PTX, artifact, manifest};
use einloom_artifact::bundle::{Packed, pack};
use einloom_artifact::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn entries() -> Vec<Packed> {
    let mut later = manifest();
    later.target = "sm_90a".parse().unwrap();
    later.min_capability = "9.0".parse().unwrap();
    let later = KernelArtifact::new(later, PTX.to_owned()).unwrap();
    let cubin = Some(vec![0x7f, b'E', b'L', b'F', 0, 1, 2]);
    let packed = |artifact, align, cubin| Packed {
        artifact,
        align,
        made_for: BTreeMap::new(),
        cubin,
    };
    vec![packed(later, 16, cubin), packed(artifact(), 16, None)]
}

fn bytes() -> Vec<u8> {
    pack("grouped", &entries()).unwrap()
}

#[test]
fn round_trips() {
    let bytes = bytes();
    assert_eq!(bytes, self::bytes());
    assert!(bytes.starts_with(b"einloom-bundle 1 "));
    let bundle = Bundle::from_bytes(bytes).unwrap();
    assert_eq!(bundle.cascade(), "grouped");
    assert_eq!(bundle.hash().len(), 64);
    let targets: Vec<_> = bundle.entries().iter().map(|e| e.target.to_string()).collect();
    assert_eq!(targets, ["sm_90a", "sm_80"]);
    for (entry, packed) in bundle.entries().iter().zip(entries()) {
        assert_eq!(bundle.artifact(entry).unwrap(), packed.artifact);
        assert_eq!(bundle.cubin(entry).unwrap(), packed.cubin.as_deref());
        assert_eq!((entry.align, entry.has_cubin()), (packed.align, packed.cubin.is_some()));
        assert_eq!(entry.specialisation["e"], "64");
    }
}

#[test]
fn targets_are_ordered_by_what_they_can_use() {
    let target = |name: &str| name.parse::<Target>().unwrap();
    assert!(target("sm_90a") > target("sm_90") && target("sm_90") > target("sm_80"));
    let capability = |name: &str| name.parse::<Capability>().unwrap();
    assert!(target("sm_80").runs_on(capability("9.0")));
    assert!(!target("sm_80").binary_runs_on(capability("9.0")));
    assert!(target("sm_80").binary_runs_on(capability("8.9")));
    assert!(!target("sm_90a").binary_runs_on(capability("10.0")));
}

#[test]
fn a_foreign_artifact_is_not_packed() {
    assert!(pack("other", &entries()).is_err());
    assert!(pack("grouped", &[]).is_err());
}

#[test]
fn a_changed_entry_is_found_when_it_is_read() {
    let mut bytes = bytes();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    let bundle = Bundle::from_bytes(bytes).unwrap();
    let entries = bundle.entries();
    assert!(bundle.artifact(&entries[0]).is_ok());
    let error = bundle.artifact(&entries[1]).unwrap_err().to_string();
    assert_eq!(
        error,
        "not an einloom kernel file: its kernel file does not match its hash"
    );
}

#[test]
fn other_bytes_are_refused() {
    let refused = |bytes: &[u8]| Bundle::from_bytes(bytes.to_vec()).unwrap_err().to_string();
    let bytes = bytes();
    assert!(refused(b"").contains("einloom-bundle"));
    assert!(refused(&artifact().to_bytes()).contains("einloom-bundle"));
    assert!(refused(&bytes[..bytes.len() - 1]).contains("are no part of"));
    assert!(refused(&[&bytes[..], b"x"].concat()).contains("follow the last part"));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(refused(text.replacen("bundle 1", "bundle 2", 1).as_bytes()).contains("format version 2"));
    assert!(refused(text.replacen("sm_90a", "sm_90f", 1).as_bytes()).contains("does not match its hash"));
}

proptest! {
    #[test]
    fn damage_never_panics(at in 0usize..20_000, byte in any::<u8>(), cut in 0usize..20_000) {
        let mut bytes = bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut % 3);
        if let Ok(bundle) = Bundle::from_bytes(bytes) {
            for entry in bundle.entries() {
                let _ = (bundle.artifact(entry), bundle.cubin(entry));
            }
        }
    }
}
