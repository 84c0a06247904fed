//! Text form of a tile program: one line a statement, types on every value. Deterministic; for people, snapshots and dumps.

use crate::ir::{AxisId, Extent, FillSource, Ix, Op, Operand, Roles, Stmt, TileProgram, Type, ValueId};
use std::fmt::Write;

/// Prints a program.
pub fn print(program: &TileProgram) -> String {
    let mut out = String::new();
    let p = Printer { program };
    p.header(&mut out);
    p.body(&mut out, &program.body, 1);
    out
}

struct Printer<'a> {
    program: &'a TileProgram,
}

// Writing to a String cannot fail; the results are dropped.
impl Printer<'_> {
    fn header(&self, out: &mut String) {
        let p = self.program;
        let registers = crate::pressure::estimate(p);
        let _ = writeln!(
            out,
            "tile program {}  warps {}  blocks/sm {}  registers for values {registers}",
            p.name, p.warps, p.blocks_per_sm
        );
        if let Roles::Specialised {
            consumer_registers,
            producer_registers,
        } = p.roles
        {
            let _ = writeln!(
                out,
                "  specialised: consumers with {consumer_registers} registers, a producer warpgroup with {producer_registers}"
            );
        }
        for (i, t) in p.tensors.iter().enumerate() {
            let access = if t.writable { "out" } else { "in " };
            let layout = if t.contiguous { "contiguous" } else { "strided" };
            let _ = writeln!(
                out,
                "  {access} t{i} {}: {:?} rank {} {layout} align {}",
                t.name, t.dtype, t.rank, t.align
            );
        }
        for (i, s) in p.scalars.iter().enumerate() {
            let _ = writeln!(out, "  scalar s{i} {}: {:?}", s.name, s.elem);
        }
        for (i, m) in p.maps.iter().enumerate() {
            let rows = m
                .row_dim
                .map_or(String::new(), |d| format!(", {} along dimension {d}", m.rows));
            let _ = writeln!(out, "  map m{i}: boxes of t{}{rows}", m.tensor.0);
        }
        for a in &p.axes {
            let _ = writeln!(out, "  axis {} = {}", a.name, a.size);
        }
        for (i, b) in p.buffers.iter().enumerate() {
            let (rows, cols) = (self.axis(b.rows), self.axis(b.cols));
            let _ = writeln!(
                out,
                "  {} b{i} {}[{} stages][{rows}][{cols}]: {:?}",
                if b.ring { "ring" } else { "shared" },
                b.name,
                b.stages,
                b.elem
            );
        }
        for g in &p.grid {
            let reversed = if g.reversed { " reversed" } else { "" };
            let _ = writeln!(out, "  grid {} = {}{reversed}", g.name, self.extent(&g.extent));
        }
    }

    fn axis(&self, axis: AxisId) -> &str {
        &self.program.axes[axis.index()].name
    }

    fn ty(&self, ty: Type) -> String {
        let partial = if ty.partial { " partial" } else { "" };
        match (ty.rows, ty.cols) {
            (None, None) => format!("{:?}", ty.elem),
            (Some(r), None) => format!("{:?}[{}, ]{partial}", ty.elem, self.axis(r)),
            (None, Some(c)) => format!("{:?}[ ,{}]", ty.elem, self.axis(c)),
            (Some(r), Some(c)) => format!("{:?}[{},{}]", ty.elem, self.axis(r), self.axis(c)),
        }
    }

    fn extent(&self, extent: &Extent) -> String {
        match extent {
            Extent::Const(n) => n.to_string(),
            Extent::Param(i) => self
                .program
                .scalars
                .get(*i)
                .map_or_else(|| format!("s{i}"), |s| s.name.clone()),
            Extent::Map(op, args) => {
                let args: Vec<String> = args.iter().map(|a| self.extent(a)).collect();
                format!("{op:?}({})", args.join(", "))
            }
            Extent::CeilDiv(a, b) => format!("ceil({} / {b})", self.extent(a)),
        }
    }

    fn body(&self, out: &mut String, body: &[Stmt], depth: usize) {
        body.iter().for_each(|stmt| self.statement(out, stmt, depth));
    }

    fn statement(&self, out: &mut String, stmt: &Stmt, depth: usize) {
        let pad = "  ".repeat(depth);
        let _ = match stmt {
            Stmt::Let(id, op) => {
                writeln!(
                    out,
                    "{pad}v{}: {} = {}",
                    id.0,
                    self.ty(self.program.values[id.index()]),
                    self.op(op)
                )
            }
            Stmt::For {
                var,
                lo,
                hi,
                carried,
                body,
                label,
            } => {
                let _ = writeln!(out, "{pad}for v{} in v{}..v{}  // {label}", var.0, lo.0, hi.0);
                for c in carried {
                    let ty = self.ty(self.program.values[c.param.index()]);
                    let _ = writeln!(out, "{pad}  carry v{}: {ty} = v{}", c.param.0, c.init.0);
                }
                self.body(out, body, depth + 1);
                for c in carried {
                    let _ = writeln!(
                        out,
                        "{pad}  next v{} <- v{}; after the loop v{}",
                        c.param.0, c.next.0, c.result.0
                    );
                }
                Ok(())
            }
            Stmt::If { cond, body } => {
                let _ = writeln!(out, "{pad}if v{}", cond.0);
                self.body(out, body, depth + 1);
                Ok(())
            }
            Stmt::Guard { cond, carried, body } => {
                let _ = writeln!(out, "{pad}guard v{}", cond.0);
                self.body(out, body, depth + 1);
                for c in carried {
                    let _ = writeln!(out, "{pad}  v{} = v{} instead of v{}", c.result.0, c.next.0, c.init.0);
                }
                Ok(())
            }
            Stmt::Store {
                tensor,
                index,
                value,
                mask,
                through,
            } => {
                let through = through.map_or(String::new(), |b| format!(" through b{} by m{}", b.buffer.0, b.map));
                let mask = mask.map_or(String::new(), |m| format!(" where v{}", m.0));
                writeln!(out, "{pad}t{}[{}] = v{}{mask}{through}", tensor.0, list(index), value.0)
            }
            Stmt::StoreShared { buffer, stage, value } => {
                writeln!(out, "{pad}b{}{} = v{}", buffer.0, stage_text(*stage), value.0)
            }
            Stmt::CopyAsync {
                buffer,
                stage,
                tensor,
                index,
                col0,
                valid,
                cols,
            } => {
                let index: Vec<String> = index.iter().chain([col0]).map(ix).collect();
                let valid = valid.as_ref().map_or(String::new(), |v| format!(" where {}", ix(v)));
                let to = format!("b{}{}", buffer.0, stage_text(*stage));
                writeln!(
                    out,
                    "{pad}copy {to} <- t{}[{}..+{cols}]{valid}",
                    tensor.0,
                    index.join(", ")
                )
            }
            Stmt::Commit => writeln!(out, "{pad}commit"),
            Stmt::Wait(n) => writeln!(out, "{pad}wait {n}"),
            Stmt::Barrier => writeln!(out, "{pad}barrier"),
            Stmt::Fill { buffer, count, source } => {
                writeln!(
                    out,
                    "{pad}fill b{} #v{} <- {}",
                    buffer.0,
                    count.0,
                    self.fill_source(source)
                )
            }
            Stmt::Await { buffer, count } => writeln!(out, "{pad}await b{} #v{}", buffer.0, count.0),
            Stmt::Release { buffer, count } => writeln!(out, "{pad}release b{} #v{}", buffer.0, count.0),
            Stmt::DotWait(n) => writeln!(out, "{pad}wait for dots but {n}"),
            Stmt::Take => writeln!(out, "{pad}take the turn"),
            Stmt::Pass => writeln!(out, "{pad}pass the turn"),
        };
    }

    fn fill_source(&self, source: &FillSource) -> String {
        let list = |index: &[Ix], col0: &Ix| index.iter().chain([col0]).map(ix).collect::<Vec<_>>().join(", ");
        match source {
            FillSource::Box { map, index, col0 } => format!("m{map}[{}..]", list(index, col0)),
            FillSource::Rows {
                tensor,
                index,
                col0,
                valid,
                cols,
            } => {
                let valid = valid.as_ref().map_or(String::new(), |v| format!(" where {}", ix(v)));
                format!("t{}[{}..+{cols}]{valid}", tensor.0, list(index, col0))
            }
        }
    }

    fn op(&self, op: &Op) -> String {
        match op {
            Op::Real(x) => format!("{x:?}"),
            Op::Int(n) => n.to_string(),
            Op::Param(i) => self
                .program
                .scalars
                .get(*i)
                .map_or_else(|| format!("s{i}"), |s| s.name.clone()),
            Op::Grid(i) => format!("grid {}", self.program.grid.get(*i).map_or("?", |g| g.name.as_str())),
            Op::Block => "block".into(),
            Op::Blocks => "blocks".into(),
            Op::Lane => "lane".into(),
            Op::Math(math, args) => format!("{math:?}({})", list(args)),
            Op::Cast(v) => format!("cast v{}", v.0),
            Op::Load { tensor, index, mask } => {
                let mask = mask.map_or(String::new(), |m| format!(" where v{}", m.0));
                format!("load t{}[{}]{mask}", tensor.0, list(index))
            }
            Op::LoadShared { buffer, stage } => format!("load b{}{}", buffer.0, stage_text(*stage)),
            Op::RowReduce(op, v) => format!("row {op:?} v{}", v.0),
            Op::QuadReduce(op, v) => format!("quad {op:?} v{}", v.0),
            Op::Dot {
                left,
                right,
                over,
                acc,
                kind,
            } => {
                let acc = acc.map_or(String::new(), |v| format!("v{} + ", v.0));
                format!(
                    "{acc}dot[{}] {} * {} ({kind:?})",
                    self.axis(*over),
                    operand(*left),
                    operand(*right)
                )
            }
        }
    }
}

fn stage_text(stage: Option<ValueId>) -> String {
    stage.map_or(String::new(), |s| format!("[v{}]", s.0))
}

fn operand(operand: Operand) -> String {
    match operand {
        Operand::Register(v) => format!("v{}", v.0),
        Operand::Shared(b, stage) => format!("b{}{}", b.0, stage_text(stage)),
    }
}

fn list(values: &[ValueId]) -> String {
    values
        .iter()
        .map(|v| format!("v{}", v.0))
        .collect::<Vec<_>>()
        .join(", ")
}

fn ix(index: &Ix) -> String {
    let join = |args: &[Ix]| args.iter().map(ix).collect::<Vec<_>>().join(", ");
    match index {
        Ix::Const(n) => n.to_string(),
        Ix::Value(v) => format!("v{}", v.0),
        Ix::Lane => "lane".into(),
        Ix::Map(op, args) => format!("{op:?}({})", join(args)),
        Ix::Gather(t, args) => format!("t{}[{}]", t.0, join(args)),
    }
}
