//! Rates of devices.
//!
//! Sources: CUDA C++ Programming Guide, "Arithmetic Instructions" (results per clock and multiprocessor: 128 f32, 64 comparisons and int32 on 8.0 and 9.0,
//! 16 special functions; 128 bytes of shared memory per clock); data sheets of A100 and H100 for multiprocessors and memory. Clocks and the rates of the
//! matrix unit and of the memories are sustained ones, fitted to measurements of attention kernels on an H100 SXM (docs, "Performance").

use super::{Bound, Demand};

/// What the model knows about a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    pub name: &'static str,
    pub multiprocessors: u64,
    /// Clock under load.
    pub clock_ghz: f64,
    /// Operations per clock and multiprocessor of `mma.sync`, 16-bit operands (a multiply-add is two).
    pub mma_flops: f64,
    /// The same of the warpgroup's asynchronous instruction; 0 where there is none.
    pub wgmma_flops: f64,
    /// The same without the limits of power: what one dot runs at.
    pub wgmma_peak: f64,
    /// Results per clock and multiprocessor.
    pub fma_lanes: f64,
    pub alu_lanes: f64,
    pub mufu_lanes: f64,
    /// Warp instructions per clock and multiprocessor.
    pub issue: f64,
    /// Bytes per clock and multiprocessor.
    pub shared_bytes: f64,
    /// Gigabytes per second of all multiprocessors together.
    pub l2_gbs: f64,
    pub dram_gbs: f64,
    /// Cycles from a copy's start to its data.
    pub latency: f64,
    /// Cycles of a block's start, first copies and last stores that nothing hides but other blocks.
    pub block_overhead: f64,
    /// The same of a block of a specialised program, which sets up its barriers and maps besides.
    pub specialised_overhead: f64,
    /// Share of the work on other pipes than the busiest that one warp does not hide.
    pub exposed: f64,
    /// Cycles from the end of a dot to the first use of its result.
    pub dot_latency: f64,
    /// Share of the work beside a pending dot that is done behind the wait for it.
    pub delayed: f64,
    /// Cycles of a reduction across lanes.
    pub reduce_latency: f64,
    /// Cycles of the vote and the branch of a guard.
    pub guard_cycles: f64,
    /// Cycles between two copies of a producer, and bytes per clock of one copy.
    pub fill_issue: f64,
    pub fill_bytes: f64,
    /// How sharply the scarcest resource of a specialised program alone decides: the exponent of a power mean.
    pub sharpness: f64,
    /// Microseconds of an empty kernel.
    pub launch_us: f64,
}

/// NVIDIA H100 SXM, 80 GB.
pub const H100: Device = Device {
    name: "NVIDIA H100",
    multiprocessors: 132,
    clock_ghz: 1.7,
    mma_flops: 1900.0,
    // 4096 at the clock that the device takes where the matrix unit waits for others, above the nominal one of this table.
    wgmma_flops: 4400.0,
    wgmma_peak: 4400.0,
    fma_lanes: 128.0,
    alu_lanes: 64.0,
    mufu_lanes: 16.0,
    issue: 4.0,
    shared_bytes: 128.0,
    // Twice what streaming reads show: tiles that neighbouring blocks read at the same time are served once.
    l2_gbs: 10_000.0,
    dram_gbs: 3000.0,
    latency: 900.0,
    block_overhead: 5000.0,
    specialised_overhead: 3000.0,
    exposed: 0.3,
    dot_latency: 90.0,
    delayed: 0.9,
    reduce_latency: 60.0,
    guard_cycles: 40.0,
    fill_issue: 30.0,
    fill_bytes: 48.0,
    sharpness: 2.5,
    launch_us: 2.5,
};

/// NVIDIA H200: an H100 with faster memory.
pub const H200: Device = Device {
    name: "NVIDIA H200",
    dram_gbs: 4300.0,
    ..H100
};

/// NVIDIA A100 SXM, 80 GB.
pub const A100: Device = Device {
    name: "NVIDIA A100",
    multiprocessors: 108,
    clock_ghz: 1.35,
    mma_flops: 1850.0,
    wgmma_flops: 0.0,
    wgmma_peak: 0.0,
    l2_gbs: 5000.0,
    dram_gbs: 1750.0,
    ..H100
};

impl Device {
    /// The model of a device by the name that its driver gives, or of the device that a target is named for.
    pub fn named(name: &str, target: &str) -> &'static Device {
        [&H200, &H100, &A100]
            .into_iter()
            .find(|d| name.starts_with(d.name))
            .unwrap_or(if target == "sm_80" && name.is_empty() {
                &A100
            } else {
                &H100
            })
    }

    /// Cycles of one multiprocessor that each of its resources needs for a demand.
    pub fn cycles(&self, demand: &Demand) -> Vec<(Bound, f64)> {
        let wgmma = if self.wgmma_flops > 0.0 {
            self.wgmma_flops
        } else {
            self.mma_flops
        };
        vec![
            (
                Bound::Tensor,
                demand.mma_flops / self.mma_flops + demand.wgmma_flops / wgmma,
            ),
            (Bound::Fma, demand.fma * 32.0 / self.fma_lanes),
            (Bound::Alu, demand.alu * 32.0 / self.alu_lanes),
            (Bound::Mufu, demand.mufu * 32.0 / self.mufu_lanes),
            (Bound::Issue, demand.instructions() / self.issue),
            (Bound::Shared, demand.shared_bytes / self.shared_bytes),
        ]
    }
}
