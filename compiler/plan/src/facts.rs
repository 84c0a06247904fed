//! Free variables and leaves of expressions, cached by id (an arena only grows and children come first).

use einloom_cascade::expr::{Arena, Expr, ExprId, LeafId, VarId};
use std::collections::BTreeSet;
use std::rc::Rc;

/// The cache.
#[derive(Default)]
pub(crate) struct Facts {
    free: Vec<Rc<BTreeSet<VarId>>>,
    leaves: Vec<Rc<BTreeSet<LeafId>>>,
}

impl Facts {
    /// Free variables of an expression.
    pub(crate) fn free(&mut self, arena: &Arena, id: ExprId) -> Rc<BTreeSet<VarId>> {
        self.grow(arena);
        self.free[id.index()].clone()
    }

    /// Leaves anywhere in an expression, indices included.
    pub(crate) fn leaves(&mut self, arena: &Arena, id: ExprId) -> Rc<BTreeSet<LeafId>> {
        self.grow(arena);
        self.leaves[id.index()].clone()
    }

    fn grow(&mut self, arena: &Arena) {
        for index in self.free.len()..arena.len() {
            let id = ExprId(u32::try_from(index).expect("arena ids are 32 bits"));
            let mut free = BTreeSet::new();
            let mut leaves = BTreeSet::new();
            for child in arena.children(id) {
                free.extend(self.free[child.index()].iter().copied());
                leaves.extend(self.leaves[child.index()].iter().copied());
            }
            match arena.get(id) {
                Expr::Var(v) => {
                    free.insert(*v);
                }
                Expr::Leaf(leaf, _) => {
                    leaves.insert(*leaf);
                }
                Expr::Reduce(r) => {
                    for v in &r.vars {
                        free.remove(v);
                    }
                }
                _ => {}
            }
            self.free.push(Rc::new(free));
            self.leaves.push(Rc::new(leaves));
        }
    }
}
