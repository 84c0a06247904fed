//! Ranks: atoms, composites, extents.

use super::{Binding, Lowerer, Rank, RankId};
use crate::expr::{Expr, ExprId, Kind, MapOp, SymId, VarId};
use crate::ir::{Check, Composite, Symbol};
use crate::lower::terms::Val;
use einloom_syntax::ast::{self, ExprKind, RankValue, StmtKind};
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::Diagnostic;

impl<'a> Lowerer<'a> {
    /// Declares all ranks of the main file, parts before wholes.
    pub(crate) fn declare_ranks(&mut self, main: &'a ast::File) {
        let items = || {
            main.stmts.iter().flat_map(|stmt| match &stmt.kind {
                StmtKind::Rank(items) => items.as_slice(),
                _ => &[],
            })
        };
        for item in items() {
            let id = self.ranks.len();
            if self.bind(&item.name, Binding::Rank(id)) {
                self.ranks.push(Rank {
                    name: item.name.text.clone(),
                    span: item.name.span,
                    parts: None,
                    var: None,
                    extent: None,
                    tail: false,
                });
            }
        }
        for item in items() {
            let Some(RankValue::Tuple { parts, by }) = &item.value else {
                continue;
            };
            if let Some(by) = by {
                self.unsupported(
                    by.span,
                    "ragged rank (`by`)",
                    "pass padded tensors and lengths: `where m < len`",
                );
                self.names
                    .insert(item.name.text.clone(), (Binding::Broken, item.name.span));
            }
            let mut list = Vec::new();
            for part in parts {
                match self.names.get(&part.text) {
                    Some((Binding::Rank(id), _)) => list.push(*id),
                    Some(_) => self.error(Code::E0202, part.span, format!("`{}` is not a rank", part.text), ""),
                    None => {
                        let id = self.ranks.len();
                        self.names.insert(part.text.clone(), (Binding::Rank(id), part.span));
                        self.ranks.push(Rank {
                            name: part.text.clone(),
                            span: part.span,
                            parts: None,
                            var: None,
                            extent: None,
                            tail: false,
                        });
                        list.push(id);
                    }
                }
            }
            if let Some((Binding::Rank(id), _)) = self.names.get(&item.name.text).copied() {
                self.ranks[id].parts = Some(list);
            }
        }
        self.break_cycles();
        // Variables in the order of the declarations, parts of a composite from the outermost on: implied sums run so.
        for id in 0..self.ranks.len() {
            self.declare_vars(id);
        }
    }

    fn declare_vars(&mut self, id: RankId) {
        match self.ranks[id].parts.clone() {
            Some(parts) => parts.into_iter().for_each(|part| self.declare_vars(part)),
            None if self.ranks[id].var.is_none() => {
                let zero = self.terms.int(0);
                let name = self.ranks[id].name.clone();
                self.ranks[id].var = Some(self.terms.new_var(&name, zero));
            }
            None => {}
        }
    }

    /// A composite that contains itself becomes an atom, with a message.
    fn break_cycles(&mut self) {
        for id in 0..self.ranks.len() {
            let mut open = self.ranks[id].parts.clone().unwrap_or_default();
            let mut seen = Vec::new();
            while let Some(part) = open.pop() {
                if part == id {
                    let (span, name) = (self.ranks[id].span, self.ranks[id].name.clone());
                    self.error(Code::E0502, span, format!("rank `{name}` is a part of itself"), "");
                    self.ranks[id].parts = None;
                    break;
                }
                if !seen.contains(&part) {
                    seen.push(part);
                    open.extend(self.ranks[part].parts.clone().unwrap_or_default());
                }
            }
        }
    }

    /// Resolves the extents of all ranks and records composites and checks.
    pub(crate) fn resolve_all_ranks(&mut self) {
        let count = self.ranks.len();
        for id in 0..count {
            self.extent(id);
        }
        for id in 0..count {
            if self.ranks[id].parts.is_some() {
                self.check_product(id);
                let atoms = self.atoms(id);
                let composite = Composite {
                    name: self.ranks[id].name.clone(),
                    atoms: atoms
                        .iter()
                        .map(|var| self.terms.vars[var.index()].name.clone())
                        .collect(),
                };
                self.out.composites.push(composite);
            }
        }
        // Parts before wholes, which follow from them.
        let (wholes, parts): (Vec<RankId>, Vec<RankId>) = (0..count).partition(|id| self.ranks[*id].parts.is_some());
        for id in parts.into_iter().chain(wholes) {
            let broken = !matches!(self.names.get(&self.ranks[id].name), Some((Binding::Rank(_), _)));
            let told = self.rank_state.get(&id) == Some(&true) && !self.diagnostics.is_empty();
            if self.ranks[id].extent.is_none() && !told && !broken && !self.excused(id) {
                self.missing_extent(id);
            }
        }
    }

    /// Whether the extent would follow from something that was refused.
    fn excused(&self, id: RankId) -> bool {
        let name = self.ranks[id].name.as_str();
        let main: &'a ast::File = self.files[self.files.len() - 1];
        main.stmts.iter().any(|stmt| match &stmt.kind {
            StmtKind::Rank(items) => items.iter().any(
                |item| matches!(&item.value, Some(RankValue::Tuple { parts, by: Some(_) }) if parts.iter().any(|part| part.text == name)),
            ),
            StmtKind::Inout { decls, .. } => decls.iter().flat_map(|decl| decl.dims.iter().flatten()).any(
                |dim| matches!(&dim.unparen().kind, ExprKind::Name(found) if found.text == name),
            ),
            _ => false,
        }) || main.poisoned.iter().any(|other| other == name)
            || (!self.diagnostics.is_empty() && self.follows_from_refused(id))
    }

    /// Whether a part decides with another one that was refused, or a whole with a part that is unknown.
    fn follows_from_refused(&self, id: RankId) -> bool {
        let refused = |part: &RankId| self.rank_state.get(part) == Some(&true);
        let parts = |id: RankId| self.ranks[id].parts.as_deref().unwrap_or_default();
        parts(id).iter().any(|part| self.ranks[*part].extent.is_none())
            || (0..self.ranks.len()).any(|whole| parts(whole).contains(&id) && parts(whole).iter().any(refused))
    }

    fn missing_extent(&mut self, id: RankId) {
        let rank = &self.ranks[id];
        let (name, span) = (rank.name.clone(), rank.span);
        let known = self
            .ranks
            .iter()
            .find(|other| other.name == "p" && other.extent.is_some() && name != "p");
        let known = known.or_else(|| {
            let runtime = |rank: &&Rank| {
                rank.extent
                    .is_some_and(|extent| matches!(self.terms.arena.get(extent), Expr::Extent(_)))
            };
            self.ranks.iter().find(runtime)
        });
        let mut diagnostic = Diagnostic::new(
            Code::E0204,
            format!("the extent of rank `{name}` follows from no input"),
        )
        .primary(span, "")
        .note(if self.declared(id).is_some() {
            format!("the value of `{name}` depends on extents that are not known")
        } else {
            format!("no input has a dimension `{name}`, and the rank has no value")
        });
        let part = self
            .ranks
            .iter()
            .any(|rank| rank.parts.as_ref().is_some_and(|parts| parts.contains(&id)));
        if let Some(known) = known
            && part
        {
            let name = format!("{name} = {}", known.name.to_uppercase());
            diagnostic = diagnostic.help(format!("give it one in a `rank` item of its own: `rank {name}`"));
        } else if let Some(known) = known {
            let fix = format!("{name} = {}", known.name.to_uppercase());
            diagnostic = diagnostic.fix(format!("give it one: `rank {fix}`"), span, fix);
        }
        self.report(diagnostic);
    }

    /// What a `rank` statement says about a rank.
    fn declared(&self, id: RankId) -> Option<&'a [ast::Expr]> {
        let main: &'a ast::File = self.files[self.files.len() - 1];
        let name = &self.ranks[id].name;
        main.stmts.iter().find_map(|stmt| match &stmt.kind {
            StmtKind::Rank(items) => items.iter().find_map(|item| match &item.value {
                Some(RankValue::Choice(list)) if item.name.text == *name => Some(list.as_slice()),
                _ => None,
            }),
            _ => None,
        })
    }

    /// Inputs that have the rank as a dimension.
    fn sources(&self, id: RankId) -> Vec<(crate::expr::InputId, usize)> {
        let name = &self.ranks[id].name;
        let mut list = Vec::new();
        let main: &'a ast::File = self.files[self.files.len() - 1];
        for (input, decl) in (0..).zip(super::decls::tensor_decls(main)) {
            for (at, dim) in decl.dims.iter().flatten().enumerate() {
                if matches!(&dim.unparen().kind, ExprKind::Name(found) if found.text == *name) {
                    list.push((crate::expr::InputId(input), at));
                }
            }
        }
        list
    }

    /// The extent of a rank, found on demand.
    pub(crate) fn extent(&mut self, id: RankId) -> Option<ExprId> {
        if self.ranks[id].extent.is_some() {
            return self.ranks[id].extent;
        }
        if self.rank_state.contains_key(&id) {
            return None;
        }
        self.rank_state.insert(id, false);
        let found = self.find_extent(id);
        if found.is_some() {
            self.set_extent(id, found);
        }
        // Open until now: extents that were asked for meanwhile may be found later, through another rank.
        if self.rank_state.get(&id) == Some(&false) {
            self.rank_state.remove(&id);
        }
        self.ranks[id].extent
    }

    fn set_extent(&mut self, id: RankId, extent: Option<ExprId>) {
        self.ranks[id].extent = extent;
        if let (Some(var), Some(extent)) = (self.ranks[id].var, extent) {
            self.terms.vars[var.index()].extent = extent;
        }
        if let Some(extent) = extent {
            self.terms.extents.insert(extent);
        }
    }

    fn find_extent(&mut self, id: RankId) -> Option<ExprId> {
        if let Some(choices) = self.declared(id) {
            let pick = self.choices.picks.get(&self.ranks[id].name).copied().unwrap_or(0);
            let choice = choices.get(pick).or(choices.first())?;
            let value = self.extent_expr(choice);
            if let Some(Expr::Int(n @ ..1)) = value.map(|value| self.terms.arena.get(value)) {
                let (n, name, span) = (*n, self.ranks[id].name.clone(), self.ranks[id].span);
                self.error(
                    Code::E0107,
                    span,
                    format!("the extent of rank `{name}` is {n}, less than 1"),
                    "",
                );
                self.rank_state.insert(id, true);
                return None;
            }
            if value.is_none() {
                // Whatever was wrong has been said, or will be.
                self.rank_state.insert(id, true);
            }
            return value;
        }
        let sources = self.sources(id);
        if !sources.is_empty() {
            let sym = SymId(self.out.symbols.len() as u32);
            self.out.symbols.push(Symbol {
                name: self.ranks[id].name.to_uppercase(),
                sources,
            });
            let extent = self.terms.add(Expr::Extent(sym));
            self.set_extent(id, Some(extent));
            return Some(extent);
        }
        for whole in 0..self.ranks.len() {
            if self.ranks[whole]
                .parts
                .as_ref()
                .is_some_and(|parts| parts.contains(&id))
                && let Some(extent) = self.part_extent(whole, id)
            {
                return Some(extent);
            }
        }
        if let Some(parts) = self.ranks[id].parts.clone() {
            let extents: Option<Vec<ExprId>> = parts.iter().map(|part| self.extent(*part)).collect();
            return extents.map(|list| self.extent_product(&list));
        }
        None
    }

    fn extent_product(&mut self, list: &[ExprId]) -> ExprId {
        let mut whole = self.terms.int(1);
        for extent in list {
            whole = self.terms.map(MapOp::Mul, &[whole, *extent]);
        }
        self.terms.extents.insert(whole);
        whole
    }

    /// The extent of one part from the whole and the other parts: a quotient, rounded up where the last part is fixed
    /// and the whole is not.
    fn part_extent(&mut self, whole: RankId, part: RankId) -> Option<ExprId> {
        let parts = self.ranks[whole].parts.clone()?;
        let total = self.extent(whole)?;
        let others: Option<Vec<ExprId>> = parts
            .iter()
            .filter(|other| **other != part)
            .map(|other| self.extent(*other))
            .collect();
        let others = others?;
        let divisor = self.extent_product(&others);
        let fixed = |terms: &super::Terms, id: ExprId| match terms.constant(id) {
            Some(crate::ops::Scalar::Int(x)) => Some(x),
            _ => None,
        };
        let one = self.terms.int(1);
        if let Some(n) = fixed(&self.terms, divisor) {
            let divides = fixed(&self.terms, total).is_some_and(|total| n > 0 && total % n == 0);
            if n <= 0 {
                return None;
            }
            if !divides && parts[0] == part {
                self.ranks[whole].tail = true;
                let more = self.terms.int(n - 1);
                let sum = self.terms.map(MapOp::Add, &[total, more]);
                return Some(self.terms.map(MapOp::IDiv, &[sum, divisor]));
            }
            return Some(self.terms.map(MapOp::IDiv, &[total, divisor]));
        }
        // An extent of 0 fails the check below with its own message instead of a division by zero.
        let safe = self.terms.map(MapOp::Max, &[divisor, one]);
        Some(self.terms.map(MapOp::IDiv, &[total, safe]))
    }

    /// The whole must be the product of its parts, unless it has a tail.
    fn check_product(&mut self, id: RankId) {
        let Some(whole) = self.ranks[id].extent else { return };
        if self.ranks[id].tail {
            return;
        }
        let parts = self.ranks[id].parts.clone().unwrap_or_default();
        let extents: Option<Vec<ExprId>> = parts.iter().map(|part| self.ranks[*part].extent).collect();
        let Some(extents) = extents else { return };
        let product = self.extent_product(&extents);
        if product == whole {
            return;
        }
        let cond = self.terms.map(MapOp::Eq, &[whole, product]);
        let names: Vec<String> = parts.iter().map(|part| self.ranks[*part].name.to_uppercase()).collect();
        let name = self.ranks[id].name.clone();
        let rule = format!(
            "rank `{name}` has extent {}, not `{}`",
            name.to_uppercase(),
            names.join(" * ")
        );
        match self.terms.constant(cond) {
            Some(crate::ops::Scalar::Bool(true)) => {}
            Some(_) => {
                let span = self.ranks[id].span;
                let value = |id: ExprId| {
                    self.terms
                        .constant(id)
                        .and_then(|x| x.as_int())
                        .map_or("?".to_string(), |x| x.to_string())
                };
                let sizes: Vec<String> = extents.iter().map(|extent| value(*extent)).collect();
                let message = format!(
                    "rank `{name}` has extent {}, not `{}` = {}",
                    value(whole),
                    names.join(" * "),
                    sizes.join(" * ")
                );
                self.error(Code::E0205, span, message, "");
            }
            None => {
                if matches!(self.terms.arena.get(whole), Expr::Extent(_)) {
                    self.terms.exact.insert(whole, product);
                }
                self.out.checks.push(Check { cond, message: rule });
            }
        }
    }

    /// Canonical variables of the atoms of a rank, outermost first.
    pub(crate) fn atoms(&self, id: RankId) -> Vec<VarId> {
        match &self.ranks[id].parts {
            None => self.ranks[id].var.into_iter().collect(),
            Some(parts) => parts.iter().flat_map(|part| self.atoms(*part)).collect(),
        }
    }

    /// The coordinate of a rank, an int; its conditions are those of tail blocks.
    pub(crate) fn coordinate(&mut self, id: RankId) -> Option<Val> {
        let Some(parts) = self.ranks[id].parts.clone() else {
            self.ranks[id].extent?;
            let var = self.ranks[id].var?;
            return Some(Val::total(self.terms.var(var), Kind::Int));
        };
        let mut conds = Vec::new();
        let mut flat: Option<ExprId> = None;
        for part in parts {
            let extent = self.ranks[part].extent?;
            let at = self.coordinate(part)?;
            super::terms::join(&mut conds, &at.conds);
            flat = Some(match flat {
                None => at.expr,
                Some(before) => {
                    let scaled = self.terms.map(MapOp::Mul, &[before, extent]);
                    self.terms.map(MapOp::Add, &[scaled, at.expr])
                }
            });
        }
        let expr = flat?;
        if self.ranks[id].tail {
            let extent = self.ranks[id].extent?;
            let cond = self.terms.map(MapOp::Lt, &[expr, extent]);
            super::terms::join(&mut conds, &[cond]);
        }
        Some(Val {
            expr,
            kind: Kind::Int,
            conds,
        })
    }

    /// Replacements of the atoms of a rank that put its coordinate to `value`.
    pub(crate) fn decode(
        &mut self,
        id: RankId,
        value: ExprId,
        map: &mut std::collections::BTreeMap<VarId, ExprId>,
    ) -> Option<()> {
        let at = self.coordinate(id)?;
        if at.expr == value {
            for var in self.atoms(id) {
                let same = self.terms.var(var);
                map.insert(var, same);
            }
            return Some(());
        }
        let Some(parts) = self.ranks[id].parts.clone() else {
            map.insert(self.ranks[id].var?, value);
            return Some(());
        };
        let mut rest = value;
        for (at, part) in parts.iter().enumerate().rev() {
            let extent = self.ranks[*part].extent?;
            let own = if at == 0 {
                rest
            } else {
                let own = self.terms.map(MapOp::IMod, &[rest, extent]);
                rest = self.terms.map(MapOp::IDiv, &[rest, extent]);
                own
            };
            self.decode(*part, own, map)?;
        }
        Some(())
    }

    /// One rank for a bracket of several: their composite.
    pub(crate) fn group(&mut self, list: Vec<RankId>) -> RankId {
        if let [single] = list[..] {
            return single;
        }
        if let Some(known) = self.groups.get(&list) {
            return *known;
        }
        let extents: Option<Vec<ExprId>> = list.iter().map(|id| self.ranks[*id].extent).collect();
        let extent = extents.map(|extents| self.extent_product(&extents));
        let id = self.ranks.len();
        let names: Vec<String> = list.iter().map(|id| self.ranks[*id].name.clone()).collect();
        self.ranks.push(Rank {
            name: names.join(","),
            span: self.ranks[list[0]].span,
            parts: Some(list.clone()),
            var: None,
            extent,
            tail: false,
        });
        self.groups.insert(list, id);
        id
    }
}
