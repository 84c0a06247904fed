//! Results by box copies.
//!
//! In the fragment layout a lane holds pairs of columns, so that its warp would write 8 rows by 16 bytes at once, or exchange pairs between lanes first,
//! and then wait until memory takes them. A tile that is a box of its tensor can instead be put into shared memory and copied out
//! while the warp goes on ([`Passage`]). Specialised programs do so where there is room for the tiles beside all that the schedule asks for:
//! the stages that hide latency come first.

use crate::ir::{Buffer, BufferId, Elem, Passage, Roles, Stmt, TensorId, TensorMap, TileProgram, ValueId};
use crate::machine::MachineModel;
use crate::schedule::shared_fits;
use einloom_cascade::expr::DType;

/// Rows of a warp in specialised programs.
const WARP_ROWS: u32 = 16;

/// Most dimensions of a box.
const MAX_RANK: usize = 5;

/// A stored tile that is a box of its tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutBox {
    pub(crate) tensor: TensorId,
    pub(crate) value: ValueId,
    /// The dimension that its rows run along.
    pub(crate) row_dim: usize,
}

/// Stores `boxes` by box copies, if `machine` has room for all of them.
pub(crate) fn add(program: &mut TileProgram, boxes: &[OutBox], machine: &MachineModel) {
    if program.roles == Roles::Uniform || boxes.is_empty() {
        return;
    }
    let before = program.clone();
    let mut body = std::mem::take(&mut program.body);
    visit(program, &mut body, boxes);
    program.body = body;
    if shared_fits(program, machine).is_err() {
        *program = before;
    }
}

fn visit(program: &mut TileProgram, body: &mut [Stmt], boxes: &[OutBox]) {
    for stmt in body {
        match stmt {
            Stmt::For { body, .. } | Stmt::If { body, .. } => visit(program, body, boxes),
            Stmt::Store {
                tensor, value, through, ..
            } => {
                let found = boxes.iter().find(|b| b.tensor == *tensor && b.value == *value);
                *through = found.and_then(|b| passage(program, b));
            }
            _ => {}
        }
    }
}

/// The way of a tile of 16-bit elements, whose rows are whole 16-byte pieces.
fn passage(program: &mut TileProgram, stored: &OutBox) -> Option<Passage> {
    let declared = &program.tensors[stored.tensor.index()];
    let elem = match declared.dtype {
        DType::F16 => Elem::F16,
        DType::BF16 => Elem::BF16,
        _ => return None,
    };
    let ty = program.values[stored.value.index()];
    let (rows, cols) = (ty.rows?, ty.cols?);
    let fits = declared.contiguous && declared.align >= 16 && declared.rank <= MAX_RANK;
    if !fits || !program.axes[cols.index()].size.is_multiple_of(16) {
        return None;
    }
    let buffer = Buffer {
        name: declared.name.clone(),
        rows,
        cols,
        elem,
        stages: 1,
        ring: false,
    };
    let map = TensorMap {
        tensor: stored.tensor,
        row_dim: Some(stored.row_dim),
        rows: WARP_ROWS,
    };
    Some(Passage {
        buffer: BufferId(place(&mut program.buffers, buffer) as u32),
        map: place(&mut program.maps, map),
    })
}

/// Where `item` stands in `items`, at the end if it is new.
fn place<T: PartialEq>(items: &mut Vec<T>, item: T) -> usize {
    items.iter().position(|known| *known == item).unwrap_or_else(|| {
        items.push(item);
        items.len() - 1
    })
}
