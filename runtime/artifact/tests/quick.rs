//! The launch check without allocation: it accepts what the launch check accepts, with the same numbers, and allocates nothing.
#![allow(unsafe_code, reason = "a global allocator that counts")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{Call, call, manifest, mapped};
use einloom_artifact::contract::{Place, Quick};
use einloom_artifact::*;
use proptest::prelude::*;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as for the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as for the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The two checks agree on the call; returns whether they accept it.
fn agree(manifest: &Manifest, call: &Call) -> bool {
    let slow = call.check(manifest);
    let views = call.views();
    let quick = Quick::check(manifest, &views, &call.scalars);
    let (plan, quick) = match (slow, quick) {
        (Err(_), None) => return false,
        (Ok(plan), Some(quick)) => (plan, quick),
        (slow, quick) => panic!("{slow:?}\nbut {quick:?}"),
    };
    assert_eq!(quick.workspace_bytes(), plan.workspace_bytes);
    assert_eq!(quick.zeros(), plan.zeros);
    const WORKSPACE: u64 = 1 << 40;
    for (i, tensor) in plan.tensors.iter().enumerate() {
        let start = match tensor.place {
            Place::Address(address) => address,
            Place::Workspace(offset) => WORKSPACE + offset,
        };
        assert_eq!(quick.place(i, WORKSPACE), Some((start, tensor.span_bytes)));
    }
    let mut launched = plan.launches.iter();
    for (i, kernel) in manifest.kernels.iter().enumerate() {
        let grid = quick.grid(kernel).unwrap();
        if grid.contains(&0) {
            assert!(plan.skipped.contains(&i));
            continue;
        }
        let planned = launched.next().unwrap();
        assert_eq!((planned.kernel, planned.grid), (i, grid));
        let maps: Vec<_> = (0..kernel.maps.len())
            .map(|map| quick.map(manifest, kernel, map).unwrap())
            .collect();
        assert_eq!(maps, planned.maps);
        let args: Vec<_> = kernel.args.iter().map(|arg| quick.arg(arg).unwrap()).collect();
        assert_eq!(args, planned.args);
    }
    true
}

/// Spoils, or only changes, one thing of a call.
fn spoil(call: &mut Call, what: u8, tensor: usize, dim: usize, value: i64) {
    let dims = call.shapes[tensor].len();
    let (tensor, dim) = (tensor % call.shapes.len(), dim % dims);
    match what {
        0 => call.shapes[tensor][dim] = value.unsigned_abs(),
        1 => call.strides[tensor][dim] = value,
        2 => call.addresses[tensor] = call.addresses[tensor].wrapping_add_signed(value),
        3 => call.lens[tensor] = call.lens[tensor].saturating_add_signed(value),
        4 => call.addresses[tensor] = call.addresses[(tensor + 1) % 5].wrapping_add_signed(value.wrapping_mul(16)),
        5 => call.dtypes[tensor] = DType::F16,
        6 => call.names.swap(tensor, dim),
        7 => call.scalars[dim].value = ScalarValue::I64(value),
        8 => call.strides[tensor].swap(0, dim),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn agrees_with_the_launch_check(
        shape in (0u64..6, 0u64..5, 0u64..4),
        first in (0u8..12, 0usize..5, 0usize..4, -20i64..300),
        second in (0u8..24, 0usize..5, 0usize..4, -20i64..300),
        large in any::<bool>(),
    ) {
        let mut call = call(shape.0, 2 * shape.1, 8 * shape.2);
        for (what, tensor, dim, value) in [first, second] {
            spoil(&mut call, what, tensor, dim, if large { value << 54 } else { value });
        }
        agree(&manifest(), &call);
        agree(&mapped(), &call);
    }
}

#[test]
fn calls_that_fit_are_accepted() {
    for (p, m, f) in [(129, 62, 128), (0, 4, 32), (3, 0, 32), (1, 2, 8)] {
        assert!(agree(&manifest(), &call(p, m, f)));
        assert!(agree(&mapped(), &call(p, m, f)));
    }
    let mut permuted = call(129, 62, 128);
    permuted.strides[common::Q] = vec![129 * 6 * 64, 64, 6 * 64, 1];
    assert!(agree(&manifest(), &permuted));
    let mut reordered = call(5, 4, 32);
    reordered.scalars.reverse();
    assert!(agree(&manifest(), &reordered));
}

#[test]
fn nothing_is_allocated() {
    let (manifest, call) = (mapped(), call(129, 62, 128));
    let views = call.views();
    let before = ALLOCATIONS.get();
    let quick = Quick::check(&manifest, &views, &call.scalars).expect("the call fits");
    let grid = quick.grid(&manifest.kernels[0]);
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert_eq!(grid, Some([24, 1, 1]));
    // The counter counts.
    drop(call.check(&manifest));
    assert!(ALLOCATIONS.get() > before);
}

#[test]
fn a_workspace_must_lie_apart() {
    let (manifest, call) = (manifest(), call(5, 4, 32));
    let quick = Quick::check(&manifest, &call.views(), &call.scalars).expect("the call fits");
    let inside = call.addresses[common::K] + 8;
    assert!(quick.overlaps(&manifest, inside, 256));
    assert!(!quick.overlaps(&manifest, 7 << 40, 256));
}
