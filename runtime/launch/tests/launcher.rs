//! Bundles on a GPU: dispatch, workspaces, refusals, and no allocation on the way to the driver. Without a GPU every test is
//! skipped and says so.
#![allow(unsafe_code, reason = "a global allocator that counts")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;

use common::{COUNT, count_artifact, device};
use einloom_artifact::bundle::{Bundle, Packed, pack};
use einloom_artifact::{DType, KernelArtifact, Manifest};
use einloom_runtime::{Call, Device, DeviceBuffer, Launcher, Stream, Tensor, Workspace};

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

/// The artifact that counts and sums, changed.
fn changed(change: impl FnOnce(&mut Manifest)) -> Packed {
    let mut manifest = count_artifact().manifest().clone();
    change(&mut manifest);
    Packed {
        artifact: KernelArtifact::new(manifest, COUNT.to_owned()).unwrap(),
        align: 4,
        made_for: BTreeMap::new(),
        cubin: None,
    }
}

fn bundle(entries: &[Packed]) -> Bundle {
    Bundle::from_bytes(pack("test", entries).unwrap()).unwrap()
}

fn chosen(manifest: &mut Manifest, name: &str, value: &str) {
    manifest.specialisation.insert(name.to_owned(), value.to_owned());
}

/// `x`, then `out`, of `n` numbers.
fn buffers(device: &Device, stream: &Stream, n: u64) -> (DeviceBuffer, DeviceBuffer) {
    let x: Vec<u8> = (0..n as i32).flat_map(|i| (3 * i).to_le_bytes()).collect();
    let out = DeviceBuffer::alloc(device, 4 * n).unwrap();
    out.fill(stream, 0xff).unwrap();
    (DeviceBuffer::from_bytes(stream, &x).unwrap(), out)
}

#[test]
fn a_checked_launch_computes_and_allocates_nothing() {
    let Some(device) = device() else { return };
    let launcher = Launcher::new(&device, &bundle(&[changed(|_| {})]), &[]).unwrap();
    launcher.load_all().unwrap();
    let stream = Stream::new(&device).unwrap();
    for n in [1u64, 127, 1001] {
        let (x, out) = buffers(&device, &stream, n);
        let (x_tensor, out_tensor) = (Tensor::<i32, 1>::dense(&x, [n]), Tensor::<i32, 1>::dense(&out, [n]));
        let call = Call::new([out_tensor.named("out"), x_tensor.named("x")], []);
        let workspace = DeviceBuffer::alloc(&device, launcher.workspace_bytes(&call).unwrap()).unwrap();
        workspace.fill(&stream, 0xff).unwrap();
        let before = ALLOCATIONS.get();
        for _ in 0..3 {
            launcher.launch(&stream, &call, Workspace::new(&workspace)).unwrap();
        }
        assert_eq!(ALLOCATIONS.get() - before, 0);
        let expected: Vec<u8> = (0..n as i32).flat_map(|i| (3 * i + 1).to_le_bytes()).collect();
        assert_eq!(out.to_vec(&stream).unwrap(), expected);
        out.fill(&stream, 0xff).unwrap();
        launcher
            .prepare(&call, Workspace::new(&workspace))
            .unwrap()
            .launch(&stream)
            .unwrap();
        assert_eq!(out.to_vec(&stream).unwrap(), expected);
    }
}

#[test]
fn the_best_target_that_runs_is_taken() {
    let Some(device) = device() else { return };
    let entries = [
        changed(|m| (m.target, m.min_capability) = ("sm_75a".parse().unwrap(), "7.5".parse().unwrap())),
        changed(|m| (m.target, m.min_capability) = ("sm_70".parse().unwrap(), "7.0".parse().unwrap())),
        changed(|_| {}),
    ];
    let launcher = Launcher::new(&device, &bundle(&entries), &[]).unwrap();
    let [variant] = &launcher.variants()[..] else {
        panic!("{launcher:?}")
    };
    assert_eq!(variant.target.to_string(), "sm_80");
    let refused = Launcher::new(&device, &bundle(&entries[..1]), &[])
        .unwrap_err()
        .to_string();
    assert!(
        refused.starts_with("cascade `test` was compiled for sm_75a, none of which "),
        "{refused}"
    );
}

#[test]
fn tensors_name_the_specialisation() {
    let Some(device) = device() else { return };
    let typed = |name: &'static str, dtype: DType| {
        changed(move |m| {
            chosen(m, "T", name);
            m.tensors[0].dtype = dtype;
            m.tensors[1].dtype = dtype;
        })
    };
    let both = bundle(&[typed("i32", DType::I32), typed("f32", DType::F32)]);
    let launcher = Launcher::new(&device, &both, &[]).unwrap();
    let stream = Stream::new(&device).unwrap();
    let (x, out) = buffers(&device, &stream, 8);
    let workspace = DeviceBuffer::alloc(&device, 4096).unwrap();
    let workspace = Workspace::new(&workspace);
    let (a, b) = (Tensor::<u32, 1>::dense(&x, [8]), Tensor::<u32, 1>::dense(&out, [8]));
    let refused = launcher.launch(&stream, &Call::new([a.named("x"), b.named("out")], []), workspace);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "cascade `test` has no specialisation for `x` u32 [8], `out` u32 [8]; there are: T=i32; T=f32"
    );
    let (a, b) = (Tensor::<i32, 1>::dense(&x, [8]), Tensor::<i32, 1>::dense(&out, [7]));
    let refused = launcher.launch(&stream, &Call::new([a.named("x"), b.named("out")], []), workspace);
    assert!(refused.unwrap_err().to_string().starts_with("extent N is "));
    let b = Tensor::<i32, 1>::dense(&out, [8]);
    launcher
        .launch(&stream, &Call::new([a.named("x"), b.named("out")], []), workspace)
        .unwrap();
    stream.synchronize().unwrap();

    let open = bundle(&[changed(|m| chosen(m, "c", "4")), changed(|m| chosen(m, "c", "8"))]);
    let refused = Launcher::new(&device, &open, &[]).unwrap_err().to_string();
    assert_eq!(
        refused,
        "cascade `test`: no tensor tells c=4 from c=8; load it with one of them"
    );
    assert_eq!(
        Launcher::new(&device, &open, &[("c", "8")]).unwrap().variants()[0].choice,
        "c=8"
    );
    let refused = Launcher::new(&device, &open, &[("c", "5")]).unwrap_err().to_string();
    assert_eq!(refused, "cascade `test` has no specialisation c=5; there are: c=4; c=8");
}

#[test]
fn the_nearest_extents_are_taken() {
    let Some(device) = device() else { return };
    let made_for = |n: u64| Packed {
        made_for: BTreeMap::from([("N".to_owned(), n)]),
        ..changed(|_| {})
    };
    let launcher = Launcher::new(&device, &bundle(&[made_for(16), made_for(1024)]), &[]).unwrap();
    let stream = Stream::new(&device).unwrap();
    for (n, taken) in [(0, 16), (1, 16), (100, 16), (140, 1024), (5000, 1024)] {
        let (x, out) = buffers(&device, &stream, n.max(1));
        let (a, b) = (Tensor::<i32, 1>::dense(&x, [n]), Tensor::<i32, 1>::dense(&out, [n]));
        let call = Call::new([a.named("x"), b.named("out")], []);
        let variant = launcher.variant(&call).unwrap();
        assert_eq!(variant.made_for, BTreeMap::from([("N".to_owned(), taken)]), "{n}");
    }
    let unknown = Packed {
        made_for: BTreeMap::from([("K".to_owned(), 1)]),
        ..changed(|_| {})
    };
    let refused = pack("test", &[unknown]).unwrap_err().to_string();
    assert!(
        refused.ends_with("made for K=1: no dimension has this extent"),
        "{refused}"
    );
}

#[test]
fn workspaces_are_checked() {
    let Some(device) = device() else { return };
    let launcher = Launcher::new(&device, &bundle(&[changed(|_| {})]), &[]).unwrap();
    let stream = Stream::new(&device).unwrap();
    let (x, out) = buffers(&device, &stream, 100);
    let (x_tensor, out_tensor) = (Tensor::<i32, 1>::dense(&x, [100]), Tensor::<i32, 1>::dense(&out, [100]));
    let call = Call::new([out_tensor.named("out"), x_tensor.named("x")], []);
    let needed = launcher.workspace_bytes(&call).unwrap();
    assert_eq!(needed, 512);
    let refused = |workspace: Workspace<'_>| launcher.launch(&stream, &call, workspace).unwrap_err().to_string();
    assert_eq!(
        refused(Workspace::NONE),
        "the workspace has 0 bytes, the call needs 512"
    );
    let whole = DeviceBuffer::alloc(&device, 1024).unwrap();
    // SAFETY: never launched.
    let shifted = unsafe { Workspace::from_raw(whole.address() + 16, 1000) };
    assert!(refused(shifted).starts_with("the workspace is at address 0x"));
    // SAFETY: never launched.
    let shared = unsafe { Workspace::from_raw(out.address(), 1024) };
    assert_eq!(refused(shared), "the workspace overlaps a tensor in memory");
}
