//! What was predicted of each kernel beside what the driver reports of it.

use crate::case::Case;
use crate::pipeline::Tiled;
use crate::predict::{self, Data};
use comfy_table::{Table, presets};
use einloom_runtime::KernelInfo;
use einloom_tile::machine::MachineModel;
use einloom_tile::model::{Device, Prediction};
use einloom_tile::schedule::{expected_registers, shared_bytes};

/// One kernel.
pub(super) struct Compared {
    name: String,
    schedule: String,
    /// Registers of a thread, shared memory of a block in bytes, blocks of a multiprocessor: predicted.
    registers: u64,
    shared: u64,
    resident: u32,
    /// Time and blocks; nothing where an extent is unknown.
    prediction: Option<Prediction>,
    /// The same as the driver reports it.
    measured: KernelInfo,
    multiprocessors: u64,
}

/// Compares the kernels of a program, in order, with those of the loaded module.
pub(super) fn compare(
    tiled: &Tiled,
    case: &Case,
    machine: &MachineModel,
    device: &Device,
    measured: &[KernelInfo],
) -> Vec<Compared> {
    let (shapes, tables) = (case.inputs.shapes(), predict::tables(&case.inputs));
    let data = Data {
        shapes: &shapes,
        extents: &case.extents,
        tables: &tables,
    };
    let planned = tiled.kernels.iter().zip(&tiled.schedules).zip(measured);
    planned
        .map(|((kernel, schedule), measured)| Compared {
            name: kernel.program.name.clone(),
            schedule: schedule.to_string(),
            registers: expected_registers(&kernel.program, machine),
            shared: shared_bytes(&kernel.program),
            resident: kernel.program.blocks_per_sm,
            prediction: predict::kernel(&tiled.plan, kernel, data, device),
            measured: measured.clone(),
            multiprocessors: device.multiprocessors,
        })
        .collect()
}

impl Compared {
    fn measured_shared(&self) -> u64 {
        u64::from(self.measured.static_shared) + u64::from(self.measured.dynamic_shared)
    }

    /// Waves by the blocks that the driver says fit a multiprocessor.
    fn measured_waves(&self) -> Option<f64> {
        let blocks = u64::try_from(self.prediction.as_ref()?.blocks).ok()?;
        let most = blocks.div_ceil(self.multiprocessors.max(1)).max(1);
        let resident = u64::from(self.measured.blocks_per_multiprocessor).clamp(1, most);
        Some(blocks as f64 / (resident * self.multiprocessors.max(1)) as f64)
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        let prediction = self.prediction.as_ref();
        serde_json::json!({
            "kernel": self.name, "schedule": self.schedule,
            "predicted": {
                "registers": self.registers, "shared": self.shared, "blocks_per_sm": self.resident,
                "waves": prediction.map(|p| p.waves), "us": prediction.map(|p| p.us), "bound": prediction.map(|p| p.bound.text()),
                "exact": prediction.map(|p| p.exact),
            },
            "measured": {
                "registers": self.measured.registers, "shared": self.measured_shared(),
                "blocks_per_sm": self.measured.blocks_per_multiprocessor, "waves": self.measured_waves(),
                "local_bytes": self.measured.local_bytes,
            },
        })
    }
}

/// Predicted microseconds of all kernels.
pub(super) fn predicted_us(kernels: &[Compared]) -> Option<f64> {
    kernels.iter().map(|k| Some(k.prediction.as_ref()?.us)).sum()
}

/// An empty table of comparisons: cells hold what was predicted, then what was measured.
pub(super) fn table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "predicted / measured",
        "kernel",
        "registers",
        "shared memory",
        "blocks an SM",
        "waves",
        "time of all kernels",
        "measured of predicted",
    ]);
    table
}

/// The lines of one spec; `us` is the measured time of all its kernels.
pub(super) fn rows(spec: &str, kernels: &[Compared], us: f64) -> Vec<[String; 8]> {
    let predicted = predicted_us(kernels);
    let number = |x: Option<f64>, digits: usize| x.map_or_else(|| "-".to_owned(), |x| format!("{x:.digits$}"));
    let row = |(i, kernel): (usize, &Compared)| {
        let waves = kernel.prediction.as_ref().map(|p| p.waves);
        let mut row = [
            spec.to_owned(),
            kernel.name.clone(),
            format!("{} / {}", kernel.registers, kernel.measured.registers),
            format!("{} / {}", kernel.shared, kernel.measured_shared()),
            format!("{} / {}", kernel.resident, kernel.measured.blocks_per_multiprocessor),
            format!("{} / {}", number(waves, 2), number(kernel.measured_waves(), 2)),
            String::new(),
            String::new(),
        ];
        if i == 0 {
            row[6] = format!("{} / {us:.1} us", number(predicted, 1));
            row[7] = number(predicted.map(|p| us / p), 2);
        }
        row
    };
    kernels.iter().enumerate().map(row).collect()
}
