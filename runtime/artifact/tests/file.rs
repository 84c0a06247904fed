//! The kernel file: round trips, and refusal of everything else without a panic.

mod common;

use common::{PTX, artifact, manifest};
use einloom_artifact::*;
use proptest::prelude::*;

fn refused(bytes: &[u8]) -> String {
    KernelArtifact::from_bytes(bytes)
        .expect_err("the bytes should be refused")
        .to_string()
}

/// The message of the refusal of a manifest in which the first `find` reads `put`. White space counts as one blank.
fn refused_json(find: &str, put: &str) -> String {
    let json = artifact()
        .manifest_json()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(json.contains(find), "{find} is not in the manifest");
    let json = json.replacen(find, put, 1);
    KernelArtifact::from_parts(json.as_bytes(), PTX.as_bytes())
        .expect_err("should be refused")
        .to_string()
}

#[test]
fn round_trips() {
    let artifact = artifact();
    let bytes = artifact.to_bytes();
    assert_eq!(KernelArtifact::from_bytes(&bytes).unwrap(), artifact);
    assert_eq!(KernelArtifact::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    let (json, ptx) = (artifact.manifest_json(), artifact.ptx());
    assert_eq!(
        KernelArtifact::from_parts(json.as_bytes(), ptx.as_bytes()).unwrap(),
        artifact
    );
    assert!(bytes.starts_with(b"einloom-kernel 2 "));
}

#[test]
fn the_manifest_reads_like_this() {
    let json = artifact().manifest_json();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["target"], "sm_80");
    assert_eq!(value["ptx_version"], "8.0");
    assert_eq!(
        value["tensors"][1]["dims"][2]["extent"],
        serde_json::json!({ "extent": 5 })
    );
    assert_eq!(
        value["extents"][3]["source"],
        serde_json::json!({ "expr": { "div": [{ "extent": 1 }, { "extent": 2 }] } })
    );
    assert_eq!(
        value["kernels"][0]["args"][5],
        serde_json::json!({ "tensor_stride": { "tensor": 0, "dim": 2 } })
    );
    assert_eq!(
        value["kernels"][0]["grid"][0],
        serde_json::json!({ "ceil_div": [{ "extent": 4 }, { "const": 128 }] })
    );
}

#[test]
fn containers_are_checked() {
    assert_eq!(
        refused(b""),
        "not an einloom kernel file: it does not start with `einloom-kernel`"
    );
    assert_eq!(
        refused(b"\x7fELF"),
        "not an einloom kernel file: it does not start with `einloom-kernel`"
    );
    assert_eq!(
        refused(b"einloom-kernel 2 2 3"),
        "not an einloom kernel file: its first line does not end"
    );
    assert_eq!(
        refused(b"einloom-kernel 3 1 1\n"),
        "kernel file of format version 3, this runtime reads version 2; compile it again"
    );
    for header in [
        "einloom-kernel",
        "einloom-kernel 2 1",
        "einloom-kernel 2 1 1 00 1",
        "einloom-kernel 2 +1 1",
        "einloom-kernels 1 1 1",
        "einloom-kernel 2  1",
    ] {
        let found = refused(format!("{header}\n").as_bytes());
        assert_eq!(
            found,
            format!("not an einloom kernel file: its first line reads `{header}`")
        );
    }
    assert_eq!(
        refused(b"einloom-kernel 2 18446744073709551615 18446744073709551615 00\n"),
        "the manifest has 18446744073709551615 bytes, the limit is 4194304"
    );
    let mut longer = artifact().to_bytes();
    longer.push(b' ');
    assert!(refused(&longer).contains(" bytes follow the header, it promises "));
    let changed = String::from_utf8(artifact().to_bytes())
        .unwrap()
        .replace("\"block\": 128", "\"block\": 256");
    assert_eq!(
        refused(changed.as_bytes()),
        "not an einloom kernel file: its content does not match its hash"
    );
}

#[test]
fn versions_and_fields_are_checked() {
    assert_eq!(
        refused_json("\"format_version\": 2", "\"format_version\": 7"),
        "kernel file of format version 7, this runtime reads version 2; compile it again"
    );
    assert!(
        refused_json("\"cascade\"", "\"swizzle\": 1, \"cascade\"").starts_with("manifest: unknown field `swizzle`")
    );
    assert!(
        refused_json("\"block\": 128", "\"block\": 128, \"cluster\": 2")
            .starts_with("manifest: unknown field `cluster`")
    );
    assert!(refused_json("\"tensor_ptr\"", "\"tensor_map\"").starts_with("manifest: unknown variant `tensor_map`"));
    assert!(refused_json("\"zeroed\": false", "\"bf\": 1").starts_with("manifest: unknown field `bf`"));
    assert!(refused_json("\"dtype\": \"bf16\"", "\"dtype\": \"e4m3\"").starts_with("manifest: unknown variant `e4m3`"));
    assert!(
        refused_json("sm_80", "sm_8x")
            .starts_with("manifest: `sm_8x` is no target; a target reads `sm_80` or `sm_90a`")
    );
}

#[test]
fn contents_are_checked() {
    let bad_hash = refused_json("\"ptx_blake3\": \"", "\"ptx_blake3\": \"00");
    assert!(
        bad_hash.starts_with("the PTX does not match its manifest: blake3 "),
        "{bad_hash}"
    );
    let changed = PTX.replace("{ ret; }", "{ trap; }");
    let other = KernelArtifact::from_parts(artifact().manifest_json().as_bytes(), changed.as_bytes());
    assert!(matches!(other, Err(ArtifactError::Hash { .. })));

    let cases: [(&str, &str, &str); 13] = [
        (
            "\"entry\": \"attend\"",
            "\"entry\": \"atten\"",
            "manifest: kernel `atten`: the PTX has no such .entry",
        ),
        (
            "\"block\": 128",
            "\"block\": 2048",
            "manifest: kernel `attend`: 2048 threads in a block, the limit is 1024",
        ),
        (
            "98304",
            "200000",
            "manifest: kernel `attend`: 200000 bytes of shared memory, sm_80 has 166912",
        ),
        (
            "\"tensor_ptr\": 1",
            "\"tensor_ptr\": 9",
            "manifest: kernel `attend`: there is no tensor #9",
        ),
        (
            "\"tensor\": 0, \"dim\": 2",
            "\"tensor\": 0, \"dim\": 4",
            "manifest: extent `P`: tensor `Q` has no dimension #4",
        ),
        (
            "\"align\": 16",
            "\"align\": 3",
            "manifest: tensor `Q`: alignment 3 is no power of two from the element size to 256",
        ),
        (
            "\"min_capability\": \"8.0\"",
            "\"min_capability\": \"7.5\"",
            "manifest: min_capability: sm_80 does not run on the capability 7.5 that is said to suffice",
        ),
        (
            "\"name\": \"K\"",
            "\"name\": \"Q\"",
            "manifest: tensors: `Q` appears twice",
        ),
        (
            "\"multiple_of\": 1",
            "\"multiple_of\": 0",
            "manifest: extent `B`: its limits admit no value",
        ),
        (
            "{ \"extent\": 5 }, { \"scalar\": 0 }",
            "{ \"extent32\": 5 }, { \"scalar\": 0 }",
            "manifest: kernel `attend`: extent `M` may pass 31 bits",
        ),
        (
            "\"scalar\": 3",
            "\"scalar\": 2",
            "manifest: kernel `attend`: the PTX declares parameters of [8, 8, 8, 8, 8, 8, 8, 4, 4, 8, 4] bytes, the manifest passes [8, 8, 8, 8, 8, 8, 8, 4, 4, 8, 8]",
        ),
        (
            "\"const\": 64",
            "\"scalar\": 0",
            "manifest: tensor `Q`: scalar #0 is no known integer",
        ),
        (
            "\"div\": [ { \"extent\": 1",
            "\"div\": [ { \"extent\": 3",
            "manifest: extent `R`: extent #3 is not known here",
        ),
    ];
    for (find, put, message) in cases {
        assert_eq!(refused_json(find, put), message);
    }
}

#[test]
fn deep_json_is_an_error() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(KernelArtifact::from_parts(deep.as_bytes(), b"").is_err());
    let mut manifest = manifest();
    manifest.kernels[0].grid[0] = (0..60).fold(DimExpr::Extent(0), |e, _| e + 1);
    assert_eq!(
        manifest.validate().unwrap_err().to_string(),
        "manifest: kernel `attend`: an expression deeper than 48"
    );
}

#[test]
fn targets_know_their_devices() {
    let cap = |text: &str| text.parse::<Capability>().unwrap();
    let target = |text: &str| text.parse::<Target>().unwrap();
    assert!(target("sm_80").runs_on(cap("9.0")));
    assert!(!target("sm_80").runs_on(cap("7.5")));
    assert!(target("sm_90a").runs_on(cap("9.0")));
    assert!(!target("sm_90a").runs_on(cap("10.0")));
    assert!(target("sm_100f").runs_on(cap("10.3")));
    assert!(!target("sm_100f").runs_on(cap("12.0")));
    assert_eq!(target("sm_100a").to_string(), "sm_100a");
    for bad in ["", "sm_", "sm_8", "sm_080", "sm_90b", "compute_80", "sm_٨٠", "sm_1000"] {
        assert!(bad.parse::<Target>().is_err(), "{bad}");
    }
    for bad in ["", "8", "8.", ".0", "8.0.0", "-8.0", "+8.0", "100.0"] {
        assert!(bad.parse::<Capability>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(KernelArtifact::from_bytes(&bytes).is_err());
        let mut headed = b"einloom-kernel 2 ".to_vec();
        headed.extend(&bytes);
        prop_assert!(KernelArtifact::from_bytes(&headed).is_err());
        prop_assert!(KernelArtifact::from_parts(&bytes, &bytes).is_err());
    }

    #[test]
    fn every_truncation_is_an_error(cut in 0usize..4000) {
        let bytes = artifact().to_bytes();
        let cut = cut % bytes.len();
        prop_assert!(KernelArtifact::from_bytes(&bytes[..cut]).is_err());
    }

    #[test]
    fn every_changed_byte_is_an_error(at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = artifact().to_bytes();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        prop_assert!(KernelArtifact::from_bytes(&bytes).is_err());
    }

    /// Without the container's hash: a changed manifest may be valid, and then checking a call against it is safe.
    #[test]
    fn a_changed_manifest_is_harmless(at in any::<usize>(), byte in any::<u8>()) {
        let mut json = artifact().manifest_json().into_bytes();
        let at = at % json.len();
        json[at] = byte;
        if let Ok(read) = KernelArtifact::from_parts(&json, PTX.as_bytes()) {
            let _ = common::call(5, 4, 32).check(read.manifest());
        }
    }

    /// Manifests with wild numbers never panic in the check.
    #[test]
    fn wild_calls_are_harmless(
        shape in prop::collection::vec(prop_oneof![0u64..5, any::<u64>()], 5),
        stride in prop::collection::vec(prop_oneof![-2i64..70, any::<i64>()], 20),
        address in prop::collection::vec(any::<u64>(), 5),
        len in any::<u64>(),
    ) {
        let mut call = common::call(shape[0], 4, 32);
        for (i, strides) in call.strides.iter_mut().enumerate() {
            for (d, slot) in strides.iter_mut().enumerate() {
                *slot = stride[(i * 4 + d) % 20];
            }
        }
        for (i, extent) in shape.iter().enumerate() {
            call.shapes[i][i % 3] = *extent;
        }
        call.addresses = address;
        call.lens = vec![len; 5];
        let _ = call.check(&manifest());
    }
}
