//! Tensor map descriptors and persistent launches: what a manifest must promise, and the numbers that a call gives.

mod common;

use common::{K, O, PTX, V, call, mapped};
use einloom_artifact::contract::{ArgValue, Place, ZEROS_BYTES};
use einloom_artifact::*;

fn refused(spoil: impl FnOnce(&mut Manifest)) -> String {
    let mut manifest = mapped();
    spoil(&mut manifest);
    manifest.validate().expect_err("should be refused").to_string()
}

#[test]
fn descriptors_follow_the_call() {
    let plan = call(129, 62, 128).check(&mapped()).unwrap();
    let kernel = &plan.launches[0];
    assert_eq!(kernel.grid, [2 * 6 * 2, 1, 1]);
    assert_eq!(
        &kernel.args[11..],
        [ArgValue::Map(0), ArgValue::Map(1), ArgValue::Map(2)]
    );
    let k = &kernel.maps[1];
    assert_eq!(
        (k.tensor(), k.dtype(), k.base(None)),
        (K, DType::BF16, Some(Place::Address(2 << 32)))
    );
    assert_eq!(k.extents(), [64, 62, 2, 2]);
    assert_eq!(k.strides(), [128, 62 * 128, 2 * 62 * 128]);
    assert_eq!(k.box_extents(), [64, 128, 1, 1]);
    assert_eq!(kernel.maps[2].extents(), [128, 62, 2, 2]);
    assert_eq!(kernel.maps[0].box_extents(), [64, 64, 1, 1]);
    assert!(plan.launches[1].maps.is_empty());
    assert_eq!(plan.zeros, None);
}

#[test]
fn strides_of_the_caller_count_but_not_of_single_elements() {
    // A view of [b, m, g, e]: heads inside rows.
    let mut call = call(129, 62, 128);
    call.strides[K] = vec![62 * 2 * 64, 64, 2 * 64, 1];
    let plan = call.check(&mapped()).unwrap();
    assert_eq!(plan.launches[0].maps[1].strides(), [256, 128, 62 * 256]);
    // A broadcast batch stays one: the driver decides.
    call.strides[K][0] = 0;
    let plan = call.check(&mapped()).unwrap();
    assert_eq!(plan.launches[0].maps[1].strides(), [256, 128, 0]);
    // One batch entry: its odd stride is multiplied by 0 alone.
    for i in 0..5 {
        call.shapes[i][0] = 1;
    }
    (call.strides[K][0], call.strides[V][0]) = (3, -7);
    let plan = call.check(&mapped()).unwrap();
    assert_eq!(plan.launches[0].maps[1].strides(), [256, 128, 256]);
    assert_eq!(plan.launches[0].maps[2].strides(), [256, 62 * 256, 2 * 62 * 256]);
}

#[test]
fn rows_that_are_no_multiple_of_16_bytes_are_refused() {
    let mut call = call(129, 62, 128);
    call.shapes[V][3] = 100;
    call.shapes[O][3] = 100;
    call.strides[V] = vec![2 * 62 * 100, 62 * 100, 100, 1];
    assert_eq!(
        call.check(&mapped()).unwrap_err().to_string(),
        "rank `m` of tensor `V` has stride 100, the kernel needs multiples of 8 elements"
    );
}

#[test]
fn numbers_past_a_descriptor_are_refused() {
    let mut far = call(129, 62, 128);
    far.strides[K][0] = 1 << 39;
    (far.lens[K], far.addresses[K]) = (1 << 41, 1 << 52);
    assert_eq!(
        far.check(&mapped()).unwrap_err().to_string(),
        "rank `b` of tensor `K` has a stride of 1099511627776 bytes, box copies of kernel `attend` take less than 2^40"
    );
    let mut long = call(129, (1 << 32) + 2, 128);
    (long.lens[K], long.lens[V]) = (1 << 50, 1 << 50);
    (long.addresses[K], long.addresses[V]) = (1 << 52, 1 << 54);
    assert_eq!(
        long.check(&mapped()).unwrap_err().to_string(),
        "rank `m` of tensor `K` has extent 4294967298, box copies of kernel `attend` reach 2^32"
    );
}

/// Without keys the kernel still runs and writes its outputs; its box copies must read zeros from legal memory.
#[test]
fn empty_tensors_are_described_by_one_zero() {
    let mut empty = call(3, 0, 32);
    (empty.addresses[K], empty.addresses[V]) = (1, 0);
    let plan = empty.check(&mapped()).unwrap();
    let before = 256; // the workspace of 2 * 6 * 3 floats, rounded up
    assert_eq!((plan.zeros, plan.workspace_bytes), (Some(before), before + ZEROS_BYTES));
    let maps = &plan.launches[0].maps;
    for map in &maps[1..] {
        assert_eq!(map.base(plan.zeros), Some(Place::Workspace(before)));
        assert_eq!((map.extents(), map.strides()), (&[1, 1, 1, 1][..], &[16, 16, 16][..]));
        assert_eq!(map.box_extents(), [64, 128, 1, 1]);
    }
    assert_eq!(maps[0].base(plan.zeros), Some(Place::Address(1 << 32)));
    // No queries: nothing is launched and nothing is needed.
    let plan = call(0, 4, 32).check(&mapped()).unwrap();
    assert_eq!((plan.launches.len(), plan.zeros), (0, None));
}

#[test]
fn persistent_kernels_fill_the_device_once() {
    let kernels = mapped().kernels;
    let blocks = |multiprocessors, resident| kernels[0].blocks([24, 1, 1], multiprocessors, resident);
    assert_eq!(blocks(132, 2), [24, 1, 1]);
    assert_eq!(blocks(4, 2), [8, 1, 1]);
    // The device holds fewer than the manifest says, or more, or the occupancy is not known.
    assert_eq!(blocks(4, 1), [4, 1, 1]);
    assert_eq!(blocks(4, 9), [8, 1, 1]);
    assert_eq!(blocks(4, 0), [4, 1, 1]);
    // One block a tile otherwise.
    assert_eq!(kernels[1].blocks([24, 3, 2], 1, 1), [24, 3, 2]);
}

#[test]
fn persistent_kernels_count_tiles_in_31_bits() {
    let mut many = mapped();
    many.kernels[0].grid[0] = DimExpr::Const((1 << 30) + 1);
    assert_eq!(
        call(5, 4, 32).check(&many).unwrap_err().to_string(),
        "kernel `attend`: grid x = 1073741825 is 1073741825, the limit is 1073741824"
    );
    many.kernels[0].persistent = None;
    assert!(call(5, 4, 32).check(&many).is_ok());
}

#[test]
fn manifests_promise_what_descriptors_need() {
    mapped().validate().unwrap();
    let map = "manifest: kernel `attend`: tensor map #1: ";
    let cases: [(String, &str); 12] = [
        (refused(|m| m.kernels[0].maps[1].tensor = 9), "there is no tensor #9"),
        (
            refused(|m| m.kernels[0].maps[1].row_dim = Some(3)),
            "tensor `K` has no dimension #3",
        ),
        (
            refused(|m| m.kernels[0].maps[1].row_dim = None),
            "128 rows along no dimension",
        ),
        (
            refused(|m| m.kernels[0].maps[1].rows = 257),
            "a box of 257 rows, the limit is 256",
        ),
        (
            refused(|m| m.kernels[0].maps[1].rows = 0),
            "a box of 0 rows, the limit is 256",
        ),
        (
            refused(|m| m.kernels[0].maps[1].inner = 32),
            "a box is 32 elements of 2 bytes wide, not 128 bytes",
        ),
        (
            refused(|m| m.tensors[K].innermost_contiguous = false),
            "the last dimension of `K` may have any stride",
        ),
        (
            refused(|m| m.tensors[K].align = 8),
            "`K` is aligned to 8 bytes, not to 16",
        ),
        (
            refused(|m| m.tensors[K].dims[1].stride_multiple = 4),
            "stride #1 of `K` is a multiple of 8 bytes, not of 16",
        ),
        (
            refused(|m| (m.tensors[K].dtype, m.tensors[K].align) = (DType::I64, 16)),
            "tensor `K` is i64, elements have 2 or 4 bytes",
        ),
        (
            refused(|m| {
                let dim = m.tensors[K].dims[0].clone();
                m.tensors[K].dims.splice(0..0, [dim.clone(), dim]);
            }),
            "tensor `K` has 6 dimensions, 1 to 5 can be described",
        ),
        (
            refused(|m| {
                m.tensors[K].dims.clear();
                m.extents.iter_mut().for_each(|e| {
                    if let ExtentSource::Dims(dims) = &mut e.source {
                        dims.retain(|d| d.tensor != K);
                    }
                });
                m.extents[2].source = ExtentSource::Dims(vec![DimRef { tensor: V, dim: 1 }]);
            }),
            "tensor `K` has 0 dimensions, 1 to 5 can be described",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, format!("{map}{expected}"));
    }
}

#[test]
fn manifests_promise_what_launches_need() {
    let kernel = "manifest: kernel `attend`: ";
    let cases = [
        (
            refused(|m| m.kernels[0].args.push(KernelArg::Map(3))),
            "there is no tensor map #3",
        ),
        (
            refused(|m| m.target = "sm_80".parse().unwrap()),
            "tensor maps, which sm_80 does not have",
        ),
        (
            refused(|m| m.kernels[0].persistent = Some(0)),
            "0 persistent blocks on a multiprocessor, it holds 1 to 32",
        ),
        (
            refused(|m| m.kernels[0].grid[1] = 2.into()),
            "the tiles of a persistent kernel are not all in x",
        ),
        (
            refused(|m| m.kernels[0].args.extend((0..40).map(|_| KernelArg::Map(0)))),
            "5632 bytes of arguments, the limit is 4352",
        ),
        (
            refused(|m| m.kernels[0].maps = vec![m.kernels[0].maps[0].clone(); 33]),
            "33 tensor maps, the limit is 32",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, format!("{kernel}{expected}"));
    }
}

#[test]
fn descriptors_are_parameters_of_128_bytes_and_round_trip() {
    let params = |list: &str| PTX.replace(".param .u32 causal", &format!(".param .u32 causal{list}"));
    let map = ", .param .align 64 .b8 map[128]";
    let artifact = KernelArtifact::new(mapped(), params(&map.repeat(3))).unwrap();
    assert_eq!(KernelArtifact::from_bytes(&artifact.to_bytes()).unwrap(), artifact);
    let value: serde_json::Value = serde_json::from_str(&artifact.manifest_json()).unwrap();
    let kernel = &value["kernels"][0];
    assert_eq!(
        kernel["maps"][1],
        serde_json::json!({ "tensor": K, "row_dim": 2, "rows": 128, "inner": 64, "swizzle": "b128" })
    );
    assert_eq!(kernel["args"][11], serde_json::json!({ "map": 0 }));
    assert_eq!(kernel["persistent"], 2);
    assert_eq!(value["kernels"][1]["persistent"], serde_json::Value::Null);
    let short = KernelArtifact::new(mapped(), params(&map.repeat(2))).unwrap_err();
    assert!(
        short
            .to_string()
            .contains("the manifest passes [8, 8, 8, 8, 8, 8, 8, 4, 4, 8, 4, 128, 128, 128]")
    );
}
