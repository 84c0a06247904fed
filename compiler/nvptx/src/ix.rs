//! Index arithmetic of copies: evaluated for the row that a thread copies, with what depends linearly on the row split off.

use crate::cx::V;
use crate::error::{Res, invalid, unsupported};
use crate::facts::{Fact, arithmetic, multiple_of};
use crate::kernel::Kernel;
use crate::map::compare;
use einloom_cascade::expr::MapOp;
use einloom_tile::ir::{Ix, TensorId};
use inkwell::values::IntValue;

impl<'c> Kernel<'_, 'c> {
    /// Value of `ix` at `row` (i32); bools are i1, ints i32 or, where an operand is, i64.
    pub(crate) fn ix(&self, ix: &Ix, row: IntValue<'c>) -> Res<IntValue<'c>> {
        let cx = &self.cx;
        match ix {
            Ix::Const(n) => Ok(match i32::try_from(*n) {
                Ok(n) => cx.i32(i64::from(n)),
                Err(_) => cx.i64(*n),
            }),
            Ix::Value(id) => self.scalar_int(*id),
            Ix::Lane => Ok(row),
            Ix::Map(op, args) => {
                let args = args.iter().map(|a| self.ix(a, row)).collect::<Res<Vec<_>>>()?;
                self.ix_map(*op, &args)
            }
            Ix::Gather(tensor, index) => {
                let index = index.iter().map(|i| self.ix(i, row)).collect::<Res<Vec<_>>>()?;
                self.gather(*tensor, &index)
            }
        }
    }

    fn ix_map(&self, op: MapOp, args: &[IntValue<'c>]) -> Res<IntValue<'c>> {
        let cx = &self.cx;
        match (op, args) {
            (MapOp::Not, &[a]) => Ok(cx.not(a)),
            (MapOp::Neg | MapOp::Abs, &[a]) => self.int_map(op, &[a]),
            (_, &[a, b]) => {
                let ty = if a.get_type().get_bit_width() < b.get_type().get_bit_width() {
                    b.get_type()
                } else {
                    a.get_type()
                };
                let (a, b) = (cx.resize(a, ty), cx.resize(b, ty));
                match compare(op) {
                    Some(predicate) => Ok(cx.icmp(predicate, a, b)),
                    None => self.int_map(op, &[a, b]),
                }
            }
            _ => invalid(format!("{op:?} of {} indices", args.len())),
        }
    }

    /// An element of an integer tensor.
    fn gather(&self, tensor: TensorId, index: &[IntValue<'c>]) -> Res<IntValue<'c>> {
        let Some(declared) = self.program.tensors.get(tensor.index()) else {
            return invalid("an index reads a tensor that is not declared");
        };
        if index.len() != declared.rank {
            return invalid(format!(
                "{} indices for tensor {} of rank {}",
                index.len(),
                declared.name,
                declared.rank
            ));
        }
        let cx = &self.cx;
        let bytes = crate::global::dtype_bytes(declared.dtype);
        let arg = &self.tensors[tensor.index()];
        let mut offset = cx.i64(0);
        for (&i, &stride) in index.iter().zip(&arg.strides) {
            offset = cx.iadd(offset, cx.imul(cx.resize(i, cx.i64t()), stride));
        }
        let address = cx.offset(arg.base, cx.imul(offset, cx.i64(i64::from(bytes))));
        match self.load_element(declared.dtype, address, 0, None, !declared.writable)? {
            V::IntValue(v) => Ok(v),
            _ => unsupported(format!("indices from tensor {}, which is not of ints", declared.name)),
        }
    }

    /// What is known about `ix` as a function of the row.
    pub(crate) fn ix_fact(&self, ix: &Ix) -> Fact {
        match ix {
            Ix::Const(n) => Fact {
                constant: Some(*n),
                step: Some(0),
                multiple: multiple_of(*n),
            },
            Ix::Value(id) => self.facts.get(*id),
            Ix::Lane => Fact {
                constant: None,
                step: Some(1),
                multiple: multiple_of(0),
            },
            Ix::Map(op, args) => {
                let facts: Vec<Fact> = args.iter().map(|a| self.ix_fact(a)).collect();
                let mut res = match facts.as_slice() {
                    [a, b] => arithmetic(*op, *a, *b),
                    _ => Fact {
                        constant: None,
                        step: None,
                        multiple: 1,
                    },
                };
                if facts.iter().all(|f| f.step == Some(0)) {
                    res.step = Some(0);
                }
                res
            }
            Ix::Gather(_, index) => {
                let uniform = index.iter().all(|i| self.ix_fact(i).step == Some(0));
                Fact {
                    constant: None,
                    step: uniform.then_some(0),
                    multiple: 1,
                }
            }
        }
    }
}
