//! The machine model on a compiled plan: real extents and tables in, microseconds out.

use crate::exec::cpu;
use einloom_cascade::bind::Extents;
use einloom_cascade::data::{Inputs, Values};
use einloom_plan::ir::FusedPlan;
use einloom_tile::interp::ScalarValue;
use einloom_tile::lowered::{LoweredKernel, TensorSource};
use einloom_tile::model::{self, Device, Launch, Prediction, Table};
use std::sync::Arc;

/// What kernels are launched on, as far as their time depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// Shapes of the inputs.
    pub shapes: &'a [Vec<i64>],
    pub extents: &'a Extents,
    /// See [`tables`]; where the list is empty, likely bounds are taken for the loops that depend on it.
    pub tables: &'a [Option<Arc<Table>>],
}

/// The int inputs, one for each input: domains may depend on them.
pub fn tables(inputs: &Inputs) -> Vec<Option<Arc<Table>>> {
    let one = |tensor: &einloom_cascade::data::Tensor| {
        let values: Vec<i64> = match &tensor.values {
            Values::I64(list) => list.clone(),
            Values::I32(list) => list.iter().map(|n| i64::from(*n)).collect(),
            Values::I16(list) => list.iter().map(|n| i64::from(*n)).collect(),
            Values::I8(list) => list.iter().map(|n| i64::from(*n)).collect(),
            Values::U8(list) => list.iter().map(|n| i64::from(*n)).collect(),
            _ => return None,
        };
        let extents = tensor.shape.iter().map(|n| *n as i64).collect();
        Some(Arc::new(Table { extents, values }))
    };
    inputs.tensors.iter().map(one).collect()
}

/// Predicts one kernel; `None` where an extent has no value.
pub fn kernel(plan: &FusedPlan, kernel: &LoweredKernel, data: Data<'_>, device: &Device) -> Option<Prediction> {
    let scalars = cpu::scalars(plan, kernel, data.extents).ok()?;
    let whole = |value: &ScalarValue| match value {
        ScalarValue::Int(n) => *n,
        ScalarValue::F32(x) => *x as i64,
    };
    let table = |source: &TensorSource| match source {
        TensorSource::Input(i) => data.tables.get(*i).cloned().flatten(),
        TensorSource::Output(_) | TensorSource::Crossing(_) => None,
    };
    let launch = Launch {
        scalars: scalars.iter().map(whole).collect(),
        tables: kernel.tensors.iter().map(table).collect(),
        bytes: bytes(plan, kernel, data)?,
    };
    Some(model::predict(&kernel.program, &launch, device))
}

/// Bytes of the kernel's tensors, each once.
fn bytes(plan: &FusedPlan, kernel: &LoweredKernel, data: Data<'_>) -> Option<f64> {
    let points = |shape: &[i64]| shape.iter().map(|n| (*n).max(0) as f64).product::<f64>();
    let Data { shapes, extents, .. } = data;
    let mut sum = 0.0;
    for source in &kernel.tensors {
        sum += match source {
            TensorSource::Input(i) => points(shapes.get(*i)?) * plan.cascade.inputs[*i].dtype.size() as f64,
            TensorSource::Output(i) => points(extents.outputs.get(*i)?) * plan.cascade.outputs[*i].dtype.size() as f64,
            TensorSource::Crossing(i) => points(&cpu::crossing_shape(plan, &plan.crossings[*i], extents).ok()?) * 4.0,
        };
    }
    Some(sum)
}

/// Predicted microseconds of kernels that run one after another.
pub fn all(plan: &FusedPlan, kernels: &[LoweredKernel], data: Data<'_>, device: &Device) -> Option<f64> {
    kernels.iter().map(|k| Some(kernel(plan, k, data, device)?.us)).sum()
}

#[cfg(test)]
mod tests {
    use super::tables;
    use crate::case::Case;
    use crate::data::shapes::Given;
    use crate::session::Session;
    use std::path::Path;

    /// `table NAME 4x4096 0*1030 1*880 ..`: a table in runs.
    fn text(name: &str, table: &super::Table) -> String {
        let extents: Vec<String> = table.extents.iter().map(i64::to_string).collect();
        let runs = table.values.chunk_by(|a, b| a == b);
        let runs: Vec<String> = runs.map(|run| format!("{}*{}", run[0], run.len())).collect();
        format!("table {name} {} {}", extents.join("x"), runs.join(" "))
    }

    /// The measurements that the machine model is held against say what tables they were made with: those that `tune` draws.
    #[test]
    fn recorded_tables_are_those_of_the_generator() {
        let tile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tile/tests/data/h100.tsv");
        let recorded = std::fs::read_to_string(tile).expect("recorded data");
        let mut missing = Vec::new();
        for line in recorded.lines().filter_map(|line| line.strip_prefix("case ")) {
            let (file, given) = line.split_once(' ').expect("a file and extents");
            let given: Given = given
                .split(' ')
                .filter_map(|part| part.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../dsl-examples/{file}.ein"));
            let mut session = Session::new();
            let loaded = session.load(&path).expect("an example");
            let fits = |(name, value): &(String, String)| given.get(name).is_none_or(|v| v == value);
            let cascade = loaded
                .cascades
                .iter()
                .find(|c| c.choices.iter().all(fits))
                .expect("a specialisation");
            let symbols: Vec<i64> = cascade
                .symbols
                .iter()
                .map(|s| given[&s.name].parse().expect("an extent"))
                .collect();
            let inputs = Case::without_reals(cascade, &Given::new(), &symbols, 0).expect("inputs");
            for (info, table) in cascade.inputs.iter().zip(tables(&inputs)) {
                let Some(table) = table else { continue };
                let wanted = text(&info.name, &table);
                if !recorded.lines().any(|line| line == wanted) {
                    missing.push(format!("case {line}\n{wanted}"));
                }
            }
        }
        assert!(missing.is_empty(), "h100.tsv lacks:\n{}", missing.join("\n"));
    }
}
