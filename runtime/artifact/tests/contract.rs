//! The launch check: one call that fits, and one refusal for each way not to.

mod common;

use common::{K, LSE, O, PARTIAL, Q, V, artifact, call, manifest};
use einloom_artifact::contract::{self, ArgValue, Place};
use einloom_artifact::*;

#[test]
fn a_call_that_fits_gives_every_number() {
    let plan = call(129, 62, 128).check(artifact().manifest()).unwrap();
    assert_eq!(plan.extents, [2, 6, 2, 3, 129, 62, 128]);
    assert_eq!(plan.tensors[Q].strides, [6 * 129 * 64, 129 * 64, 64, 1]);
    assert_eq!(plan.tensors[PARTIAL].place, Place::Workspace(0));
    assert_eq!(plan.tensors[PARTIAL].span_bytes, 2 * 6 * 129 * 4);
    assert_eq!(plan.workspace_bytes, 6400);
    assert_eq!(plan.clears, [PARTIAL]);
    assert!(plan.skipped.is_empty());
    assert_eq!(plan.launches[0].grid, [2, 6, 2]);
    assert_eq!(plan.launches[1].grid, [13, 1, 1]);
    let expected = [
        ArgValue::Tensor(Q),
        ArgValue::Tensor(K),
        ArgValue::Tensor(V),
        ArgValue::Tensor(O),
        ArgValue::Tensor(PARTIAL),
        ArgValue::I64(64),
        ArgValue::I64(62),
        ArgValue::F32(0.125),
        ArgValue::I32(-1),
        ArgValue::I64(1 << 40),
        ArgValue::I32(1),
    ];
    assert_eq!(plan.launches[0].args, expected);
}

#[test]
fn order_of_tensors_and_scalars_does_not_matter() {
    let call = call(5, 4, 32);
    let (mut views, mut scalars) = (call.views(), call.scalars.clone());
    views.reverse();
    scalars.reverse();
    assert_eq!(
        contract::check(&manifest(), &views, &scalars).unwrap(),
        call.check(&manifest()).unwrap()
    );
}

#[test]
fn an_empty_output_launches_nothing_and_an_empty_key_range_does() {
    let plan = call(0, 4, 32).check(&manifest()).unwrap();
    assert_eq!(
        (plan.launches.len(), plan.skipped, plan.workspace_bytes),
        (0, vec![0, 1], 0)
    );
    // No keys: the outputs are still written. The empty tensors may have no memory and any address.
    let mut empty = call(3, 0, 32);
    (empty.addresses[K], empty.addresses[V]) = (1, 0);
    let plan = empty.check(&manifest()).unwrap();
    assert_eq!(plan.launches.len(), 2);
    assert_eq!(plan.tensors[K].span_bytes, 0);
}

#[test]
fn outer_strides_may_be_any_that_fit() {
    // Q as the permuted view of a [b, p, h, e] tensor, K broadcast over the batch.
    let mut call = call(129, 62, 128);
    call.strides[Q] = vec![129 * 6 * 64, 64, 6 * 64, 1];
    call.strides[K] = vec![0, 62 * 64, 64, 1];
    call.lens[K] = 2 * 62 * 64;
    let plan = call.check(&manifest()).unwrap();
    assert_eq!(plan.tensors[Q].strides, call.strides[Q]);
    assert_eq!(plan.launches[0].args[5], ArgValue::I64(384));
}

#[test]
fn strides_of_single_places_are_replaced() {
    let mut call = call(1, 2, 32);
    call.strides[Q][2] = -77;
    call.strides[O][2] = 3;
    let plan = call.check(&manifest()).unwrap();
    assert_eq!(plan.tensors[Q].strides, [384, 64, 64, 1]);
    assert_eq!(plan.tensors[O].strides[2], 32);
}

#[test]
fn names_are_checked() {
    let mut missing = call(4, 4, 32);
    missing.names.pop();
    assert_eq!(missing.refused(), "output `LSE` is missing");
    let mut unknown = call(4, 4, 32);
    unknown.names[K] = "key";
    assert_eq!(
        unknown.refused(),
        "the cascade has no input or output `key`; it has `Q`, `K`, `V`, `O`, `LSE`"
    );
    let mut workspace = call(4, 4, 32);
    workspace.names[LSE] = "partial";
    assert_eq!(
        workspace.refused(),
        "the cascade has no input or output `partial`; it has `Q`, `K`, `V`, `O`, `LSE`"
    );
    let mut twice = call(4, 4, 32);
    twice.names[V] = "K";
    assert_eq!(twice.refused(), "tensor `K` is given twice");
}

#[test]
fn scalars_are_checked() {
    let mut missing = call(4, 4, 32);
    missing.scalars.pop();
    assert_eq!(missing.refused(), "scalar `causal` is missing");
    let mut unknown = call(4, 4, 32);
    unknown.scalars[0].name = "tau";
    assert_eq!(
        unknown.refused(),
        "the cascade has no scalar `tau`; it has `scale`, `window`, `seed`, `causal`"
    );
    let mut twice = call(4, 4, 32);
    twice.scalars[1] = twice.scalars[0];
    assert_eq!(twice.refused(), "scalar `scale` is given twice");
    let mut other = call(4, 4, 32);
    other.scalars[1].value = ScalarValue::I64(3);
    assert_eq!(
        other.refused(),
        "scalar `window` is i64, the kernel was compiled for i32"
    );
}

#[test]
fn forms_are_checked() {
    let mut dtype = call(4, 4, 32);
    dtype.dtypes[V] = DType::F16;
    assert_eq!(dtype.refused(), "tensor `V` is f16, the kernel was compiled for bf16");
    let mut rank = call(4, 4, 32);
    rank.shapes[O].pop();
    assert_eq!(
        rank.refused(),
        "tensor `O` has 3 dimensions, the cascade declares 4 (b,h,p,f)"
    );
    let mut strides = call(4, 4, 32);
    strides.strides[O].pop();
    assert_eq!(strides.refused(), "tensor `O` has 4 extents but 3 strides");
}

#[test]
fn extents_must_agree() {
    let mut m = call(4, 4, 32);
    m.shapes[V][2] = 6;
    assert_eq!(
        m.refused(),
        "extent M is 4 in rank `m` of tensor `K`, but 6 in rank `m` of tensor `V`"
    );
    let mut h = call(4, 4, 32);
    h.shapes[Q][1] = 7;
    assert_eq!(h.refused(), "rank `h` of tensor `Q` has extent 7, not G * R = 6");
    let mut fixed = call(4, 4, 32);
    fixed.shapes[Q][3] = 128;
    assert_eq!(fixed.refused(), "rank `e` of tensor `Q` has extent 128, not 64 = 64");
    let mut lse = call(4, 4, 32);
    lse.shapes[LSE][2] = 5;
    assert_eq!(lse.refused(), "rank `p` of tensor `LSE` has extent 5, not P = 4");
    let mut none = call(4, 4, 32);
    (none.shapes[K][1], none.shapes[V][1]) = (0, 0);
    assert_eq!(
        none.refused(),
        "extent R = floor(H / G) has no value: quotient of 6 by 0: the divisor must be positive"
    );
}

#[test]
fn extents_have_limits() {
    assert_eq!(
        call(4, 5, 32).refused(),
        "extent M is 5, the kernel accepts multiples of 2"
    );
    let mut batch = call(4, 4, 32);
    for i in [Q, K, V, O, LSE] {
        batch.shapes[i][0] = 70_000;
    }
    assert_eq!(batch.refused(), "extent B is 70000, the kernel accepts 0 to 65536");
}

#[test]
fn strides_are_checked() {
    let mut inner = call(4, 4, 32);
    inner.strides[K][3] = 2;
    assert_eq!(
        inner.refused(),
        "the innermost dimension of tensor `K` has stride 2, the kernel needs stride 1"
    );
    let mut negative = call(4, 4, 32);
    negative.strides[K][2] = -64;
    assert_eq!(negative.refused(), "rank `m` of tensor `K` has the negative stride -64");
    let mut odd = call(4, 4, 32);
    odd.strides[Q][2] = 68;
    assert_eq!(
        odd.refused(),
        "rank `p` of tensor `Q` has stride 68, the kernel needs multiples of 8 elements"
    );
    let mut least = call(4, 4, 32);
    least.strides[Q][0] = i64::MIN;
    assert_eq!(
        least.refused(),
        "rank `b` of tensor `Q` has the negative stride -9223372036854775808"
    );
}

#[test]
fn memory_is_checked() {
    let mut short = call(4, 4, 32);
    short.lens[O] -= 1;
    assert_eq!(
        short.refused(),
        "tensor `O` reaches element 1535, its memory holds 1535"
    );
    let mut wide = call(4, 4, 32);
    wide.strides[Q][0] = 1 << 62;
    assert_eq!(
        wide.refused(),
        "the elements or bytes of tensor `Q` leave the 64-bit range"
    );
    let mut huge = call(4, 4, 32);
    huge.strides[Q][0] = i64::MAX - 7;
    assert_eq!(
        huge.refused(),
        "the elements or bytes of tensor `Q` leave the 64-bit range"
    );
    let mut odd = call(4, 4, 32);
    odd.addresses[V] += 8;
    assert_eq!(
        odd.refused(),
        "tensor `V` is at address 0x300000008, the kernel needs multiples of 16 bytes"
    );
    let mut top = call(4, 4, 32);
    top.addresses[V] = u64::MAX - 15;
    assert_eq!(
        top.refused(),
        "the elements or bytes of tensor `V` leave the 64-bit range"
    );
}

#[test]
fn outputs_overlap_nothing() {
    let mut twice = call(4, 4, 32);
    twice.strides[O][0] = 0;
    assert_eq!(
        twice.refused(),
        "output `O` overlaps itself: rank `b` of tensor `O` has stride 0, less than the 1 elements that its inner dimensions span"
    );
    let mut close = call(4, 4, 32);
    close.strides[O][2] = 24;
    assert_eq!(
        close.refused(),
        "output `O` overlaps itself: rank `p` of tensor `O` has stride 24, less than the 32 elements that its inner dimensions span"
    );
    let mut shared = call(4, 4, 32);
    shared.addresses[O] = shared.addresses[Q] + 16;
    assert_eq!(shared.refused(), "output `O` overlaps tensor `Q` in memory");
    // Inputs may share, and neighbours touch nothing.
    let mut inputs = call(4, 4, 64);
    inputs.addresses[K] = inputs.addresses[V];
    inputs.addresses[O] = inputs.addresses[Q] + inputs.lens[Q] * 2;
    inputs.check(&manifest()).unwrap();
}

#[test]
fn without_memory_the_shapes_are_still_checked() {
    let mut ahead = call(4, 4, 32);
    ahead.addresses = vec![0; 5];
    ahead.check(&manifest()).unwrap();
    ahead.shapes[V][2] = 6;
    assert!(ahead.check(&manifest()).is_err());
}

#[test]
fn a_cleared_output_has_no_gaps() {
    let mut manifest = manifest();
    manifest.tensors[LSE].zeroed = true;
    let mut call = call(4, 4, 32);
    assert_eq!(call.check(&manifest).unwrap().clears, [LSE, PARTIAL]);
    call.strides[LSE] = vec![36, 6, 1];
    call.lens[LSE] = 100;
    assert_eq!(
        call.check(&manifest).unwrap_err().to_string(),
        "output `LSE` is cleared before the launch and must have no gaps: its 48 elements span 70"
    );
}

#[test]
fn grids_have_limits() {
    let mut big = call(4, 4, 32);
    for (tensor, dim, extent) in [
        (Q, 1, 3 << 16),
        (O, 1, 3 << 16),
        (LSE, 1, 3 << 16),
        (K, 1, 1 << 16),
        (V, 1, 1 << 16),
    ] {
        big.shapes[tensor][dim] = extent;
    }
    big.addresses = vec![0; 5];
    big.lens = vec![u64::MAX; 5];
    for i in [Q, K, V, O, LSE] {
        let param = &manifest().tensors[i];
        big.strides[i] = contract::dense_strides(param, &big.shapes[i]).unwrap();
    }
    assert_eq!(
        big.refused(),
        "kernel `attend`: grid y = G * R is 196608, the limit is 65535"
    );
    let mut manifest = manifest();
    manifest.kernels[0].grid[0] = DimExpr::from(i64::MAX) * 2;
    assert_eq!(
        call(4, 4, 32).check(&manifest).unwrap_err().to_string(),
        "kernel `attend`: grid x = 9223372036854775807 * 2 has no value: product of 9223372036854775807 and 2 leaves the 64-bit range"
    );
}

#[test]
fn tensors_past_32_bits_are_fine() {
    let mut long = call(1 << 30, 2, 32);
    long.addresses = vec![0; 5];
    let plan = long.check(&manifest()).unwrap();
    assert_eq!(plan.tensors[Q].span_bytes, 2 * 6 * (1 << 30) * 64 * 2);
    assert_eq!(plan.launches[0].grid[0], 1 << 23);
}

#[test]
fn workspaces_have_aligned_places() {
    let mut manifest = manifest();
    let mut second = manifest.tensors[PARTIAL].clone();
    second.name = "second".into();
    second.dims[1].stride_multiple = 64;
    manifest.tensors.push(second);
    let plan = call(4, 4, 32).check(&manifest).unwrap();
    assert_eq!(plan.tensors[PARTIAL].place, Place::Workspace(0));
    assert_eq!(plan.tensors[6].place, Place::Workspace(256));
    // Rows of 4 elements rounded up to 64: 12 rows, of which the last ends after 4.
    assert_eq!(plan.tensors[6].strides, [384, 64, 1]);
    assert_eq!(plan.tensors[6].span_bytes, (11 * 64 + 4) * 4);
    assert_eq!(plan.workspace_bytes, 256 + 3072);
}

#[test]
fn outputs_can_be_sized_from_the_inputs() {
    let (manifest, call) = (manifest(), call(5, 4, 32));
    let extents = contract::resolve_extents(&manifest, &call.views()[..3], &call.scalars).unwrap();
    let env = DimEnv {
        extents: &extents,
        scalars: &[],
    };
    assert_eq!(contract::shape_of(&manifest, O, &env).unwrap(), [2, 6, 5, 32]);
    let few = contract::resolve_extents(&manifest, &call.views()[..1], &call.scalars);
    assert_eq!(
        few.unwrap_err().to_string(),
        "extent G follows from no tensor that is given"
    );
}

#[test]
fn extents_can_be_bound_by_name() {
    let given = [("B", 1), ("H", 8), ("G", 2), ("P", 7), ("M", 6), ("F", 64)];
    let by_name = given.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let extents = contract::bind_extents(&manifest(), &by_name, &[None, Some(1), Some(1), None]).unwrap();
    assert_eq!(extents, [1, 8, 2, 4, 7, 6, 64]);
}

#[test]
fn an_inconsistent_manifest_is_refused_and_not_trusted() {
    let mut manifest = manifest();
    manifest.tensors[Q].dims[0].stride_multiple = 0;
    assert_eq!(
        call(4, 4, 32).check(&manifest).unwrap_err().to_string(),
        "manifest: tensor `Q`: stride multiple 0 of dimension 0"
    );
}

#[test]
fn a_short_extent_has_four_bytes() {
    let mut manifest = manifest();
    manifest.extents[5].max = (1 << 31) - 1;
    manifest.kernels[0].args[6] = KernelArg::Extent32(5);
    assert_eq!(
        call(4, 6, 32).check(&manifest).unwrap().launches[0].args[6],
        ArgValue::I32(6)
    );
    let narrow = common::PTX.replace(".param .u64 m,", ".param .u32 m,");
    KernelArtifact::new(manifest.clone(), narrow).unwrap();
    assert!(KernelArtifact::new(manifest, common::PTX.to_owned()).is_err());
}
