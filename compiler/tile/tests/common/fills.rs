//! What the fills of a program move, in order: the counts of rings and the places of boxes, by the scalars alone.

use crate::common::scalar;
use einloom_cascade::expr::MapOp;
use einloom_cascade::{Inputs, bind};
use einloom_plan::ir::FusedPlan;
use einloom_tile::interp::{ScalarValue, extent, math};
use einloom_tile::ir::{FillSource, Ix, LoopValue, Math, Op, Stmt, TileProgram, ValueId};
use einloom_tile::lowered::LoweredKernel;
use einloom_tile::roles::{Role, slice};

/// Blocks of a persistent program.
const BLOCKS: i64 = 3;

/// A ring, the tile's number, coordinates of the box.
type Fill = (u32, i64, Vec<i64>);

/// Where the producer's slice fills something else than the whole program; nothing for programs whose fills depend on tables.
pub(crate) fn differ(plan: &FusedPlan, kernel: &LoweredKernel, inputs: &Inputs) -> Option<String> {
    let program = &kernel.program;
    let extents = bind(&plan.cascade, &inputs.shapes(), &inputs.scalars).ok()?;
    let scalars: Vec<ScalarValue> = kernel.scalars.iter().map(|s| scalar(plan, &extents, s)).collect();
    let sizes: Vec<i64> = program
        .grid
        .iter()
        .map(|g| extent(&g.extent, &scalars).unwrap_or(0))
        .collect();
    let tiles: i64 = sizes.iter().map(|n| n.max(&0)).product();
    let blocks = if program.persistent() { tiles.min(BLOCKS) } else { tiles };
    let producer = slice(program, Role::Producer);
    for block in 0..blocks {
        let run = |body: &[Stmt]| {
            let mut walk = Walk {
                program,
                scalars: &scalars,
                sizes: &sizes,
                launch: (block, blocks),
                values: vec![None; program.values.len()],
                fills: Vec::new(),
            };
            walk.statements(body).map(|()| walk.fills)
        };
        let (Some(whole), Some(own)) = (run(&program.body), run(&producer)) else {
            return None;
        };
        if whole != own {
            let at = whole.iter().zip(&own).position(|(a, b)| a != b);
            return Some(format!(
                "block {block}: {} fills by the whole program, {} by the producer, the first other one {at:?}",
                whole.len(),
                own.len()
            ));
        }
    }
    None
}

struct Walk<'a> {
    program: &'a TileProgram,
    scalars: &'a [ScalarValue],
    sizes: &'a [i64],
    launch: (i64, i64),
    values: Vec<Option<i64>>,
    fills: Vec<Fill>,
}

impl Walk<'_> {
    fn get(&self, id: ValueId) -> Option<i64> {
        self.values[id.index()]
    }

    /// `None` where a loop, a condition or a fill depends on what is no scalar here.
    fn statements(&mut self, body: &[Stmt]) -> Option<()> {
        for stmt in body {
            match stmt {
                Stmt::Let(id, op) => {
                    let ty = self.program.values[id.index()];
                    let is_scalar = ty.rows.is_none() && ty.cols.is_none();
                    self.values[id.index()] = if is_scalar { self.op(op) } else { None };
                }
                Stmt::For {
                    var,
                    lo,
                    hi,
                    carried,
                    body,
                    ..
                } => {
                    let mut now: Vec<Option<i64>> = carried.iter().map(|c| self.get(c.init)).collect();
                    for step in self.get(*lo)?..self.get(*hi)? {
                        self.values[var.index()] = Some(step);
                        self.bind(carried, &now, |c| c.param);
                        self.statements(body)?;
                        now = carried.iter().map(|c| self.get(c.next)).collect();
                    }
                    self.bind(carried, &now, |c| c.result);
                }
                Stmt::If { cond, body } => match self.get(*cond)? {
                    0 => {}
                    _ => self.statements(body)?,
                },
                Stmt::Fill { buffer, count, source } => {
                    let FillSource::Box { map, index, col0 } = source else {
                        return None;
                    };
                    let places = index.iter().chain([col0]).map(|ix| self.ix(ix));
                    let places = [Some(*map as i64)]
                        .into_iter()
                        .chain(places)
                        .collect::<Option<Vec<_>>>()?;
                    self.fills.push((buffer.0, self.get(*count)?, places));
                }
                _ => {}
            }
        }
        Some(())
    }

    fn bind(&mut self, carried: &[LoopValue], values: &[Option<i64>], name: fn(&LoopValue) -> ValueId) {
        for (c, value) in carried.iter().zip(values) {
            self.values[name(c).index()] = *value;
        }
    }

    fn op(&self, op: &Op) -> Option<i64> {
        match op {
            Op::Int(n) => Some(*n),
            Op::Param(at) => match self.scalars[*at] {
                ScalarValue::Int(n) => Some(n),
                ScalarValue::F32(_) => None,
            },
            Op::Block => Some(self.launch.0),
            Op::Blocks => Some(self.launch.1),
            Op::Grid(at) => {
                let behind: i64 = self.sizes[at + 1..].iter().product();
                let coordinate = self.launch.0 / behind % self.sizes[*at];
                let reversed = self.program.grid[*at].reversed;
                Some(if reversed {
                    self.sizes[*at] - 1 - coordinate
                } else {
                    coordinate
                })
            }
            Op::Cast(v) => self.get(*v),
            Op::Math(Math::Select, args) => self.get(args[if self.get(args[0])? != 0 { 1 } else { 2 }]),
            Op::Math(Math::Map(op), args) => {
                let args = args.iter().map(|a| self.get(*a)).collect::<Option<Vec<_>>>()?;
                apply(*op, &args)
            }
            _ => None,
        }
    }

    fn ix(&self, ix: &Ix) -> Option<i64> {
        match ix {
            Ix::Const(n) => Some(*n),
            Ix::Value(v) => self.get(*v),
            Ix::Lane => Some(0),
            Ix::Map(op, args) => apply(*op, &args.iter().map(|a| self.ix(a)).collect::<Option<Vec<_>>>()?),
            Ix::Gather(..) => None,
        }
    }
}

fn apply(op: MapOp, args: &[i64]) -> Option<i64> {
    let truth = |holds: bool| Some(i64::from(holds));
    match (op, args) {
        (MapOp::Lt, [a, b]) => truth(a < b),
        (MapOp::Le, [a, b]) => truth(a <= b),
        (MapOp::Eq, [a, b]) => truth(a == b),
        (MapOp::Ne, [a, b]) => truth(a != b),
        (MapOp::And, [a, b]) => truth(*a != 0 && *b != 0),
        (MapOp::Or, [a, b]) => truth(*a != 0 || *b != 0),
        (MapOp::Not, [a]) => truth(*a == 0),
        _ => math::int(op, args),
    }
}
