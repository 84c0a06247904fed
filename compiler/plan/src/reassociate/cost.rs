//! Costs: sums of products of extents, exact, with run-time extents at their nominal values.

use super::NOMINAL;
use crate::domain::linear::Linear;
use einloom_cascade::expr::{DefId, Expr, ExprId, MapOp, SymId, VarId};
use einloom_cascade::ir::Cascade;
use std::collections::{BTreeMap, BTreeSet};

/// Nominal extents of symbols and variables.
pub(super) struct Costs {
    symbols: Vec<i64>,
    vars: Vec<i64>,
    /// By definition: how many definitions and outputs read it, as written.
    users: Vec<usize>,
}

/// A cost: how often each product of ranks is visited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    steps: Vec<BTreeSet<VarId>>,
}

impl Cost {
    pub(super) fn none() -> Cost {
        Cost::default()
    }

    /// One visit of every point of `ranks`.
    pub(super) fn step(ranks: &BTreeSet<VarId>) -> Cost {
        Cost {
            steps: vec![ranks.clone()],
        }
    }

    pub(super) fn plus(&self, other: &Cost) -> Cost {
        let steps = self.steps.iter().chain(&other.steps).cloned().collect();
        Cost { steps }
    }

    /// Number of points at the nominal extents.
    pub(super) fn total(&self, costs: &Costs) -> u128 {
        let points = |ranks: &BTreeSet<VarId>| {
            ranks.iter().fold(1u128, |product, &var| {
                product.saturating_mul(costs.extent(var).max(1) as u128)
            })
        };
        self.steps
            .iter()
            .fold(0, |sum, ranks| sum.saturating_add(points(ranks)))
    }

    /// The cost as a polynomial of run-time extents, `64 * P * M + 4096 * P`.
    pub(super) fn text(&self, cascade: &Cascade, costs: &Costs) -> String {
        let mut monomials: BTreeMap<Vec<String>, u128> = BTreeMap::new();
        for ranks in &self.steps {
            let (mut names, mut factor) = (Vec::new(), 1u128);
            for &var in ranks {
                let extent = cascade.vars[var.index()].extent;
                match Linear::of(&cascade.exprs, extent).as_constant() {
                    Some(n) => factor = factor.saturating_mul(n.max(1) as u128),
                    None => names.push(name(cascade, costs, var)),
                }
            }
            names.sort_unstable();
            let sum = monomials.entry(names).or_default();
            *sum = sum.saturating_add(factor);
        }
        let term = |(names, factor): (&Vec<String>, &u128)| {
            let number = (*factor != 1 || names.is_empty()).then(|| factor.to_string());
            let factors: Vec<String> = number.into_iter().chain(names.iter().cloned()).collect();
            factors.join(" * ")
        };
        let terms: Vec<String> = monomials.iter().map(term).collect();
        terms.join(" + ")
    }
}

fn name(cascade: &Cascade, costs: &Costs, var: VarId) -> String {
    let declared = &cascade.vars[var.index()];
    match cascade.exprs.get(declared.extent) {
        Expr::Extent(symbol) => cascade.symbols[symbol.index()].name.clone(),
        _ => format!("{} ({})", declared.name, costs.extent(var)),
    }
}

impl Costs {
    pub(super) fn new(cascade: &Cascade) -> Costs {
        let nominal = |name: &str| {
            let policy = cascade.policies.iter().find(|policy| {
                let named = |n: &String| n.eq_ignore_ascii_case(name);
                policy.key == "nominal" && policy.names.iter().any(named)
            });
            policy.and_then(|policy| policy.value.parse::<i64>().ok())
        };
        let symbols: Vec<i64> = (cascade.symbols.iter())
            .map(|symbol| nominal(&symbol.name).unwrap_or(NOMINAL).max(1))
            .collect();
        let mut costs = Costs {
            symbols,
            vars: Vec::new(),
            users: users(cascade),
        };
        for var in &cascade.vars {
            let extent = costs.value(cascade, var.extent);
            costs.vars.push(extent);
        }
        costs
    }

    fn value(&self, cascade: &Cascade, id: ExprId) -> i64 {
        let of = |id: ExprId| self.value(cascade, id);
        match cascade.exprs.get(id) {
            Expr::Int(value) => *value,
            Expr::Extent(symbol) => self.symbol(*symbol),
            Expr::Map(op, args) if args.len() == 2 => {
                let (a, b) = (of(args[0]), of(args[1]));
                match op {
                    MapOp::Add => a.saturating_add(b),
                    MapOp::Sub => a.saturating_sub(b).max(1),
                    MapOp::Mul => a.saturating_mul(b),
                    MapOp::IDiv => a.checked_div_euclid(b).unwrap_or(1),
                    MapOp::Min => a.min(b),
                    MapOp::Max => a.max(b),
                    _ => NOMINAL,
                }
            }
            Expr::Map(MapOp::Neg, args) => of(args[0]).saturating_neg(),
            _ => NOMINAL,
        }
    }

    /// How many definitions and outputs read a definition, as written.
    pub(super) fn users(&self, def: DefId) -> usize {
        self.users.get(def.index()).copied().unwrap_or(0)
    }

    fn symbol(&self, symbol: SymId) -> i64 {
        self.symbols.get(symbol.index()).copied().unwrap_or(NOMINAL)
    }

    fn extent(&self, var: VarId) -> i64 {
        self.vars.get(var.index()).copied().unwrap_or(NOMINAL)
    }

    /// A variable was added that runs over the rank of `like`.
    pub(super) fn added(&mut self, var: VarId, like: VarId) {
        let extent = self.extent(like);
        self.vars.truncate(var.index());
        self.vars.push(extent);
    }

    /// The run-time extents that the comparison assumed, `, at P = 4096, M = 4096`.
    pub(super) fn shapes(&self, cascade: &Cascade, costs: &[&Cost]) -> String {
        let vars: BTreeSet<VarId> = costs
            .iter()
            .flat_map(|cost| cost.steps.iter().flatten().copied())
            .collect();
        let mut symbols = BTreeSet::new();
        for var in vars {
            let mut stack = vec![cascade.vars[var.index()].extent];
            while let Some(id) = stack.pop() {
                if let Expr::Extent(symbol) = cascade.exprs.get(id) {
                    symbols.insert(*symbol);
                }
                stack.extend(cascade.exprs.children(id));
            }
        }
        let text = |symbol: &SymId| {
            let name = &cascade.symbols[symbol.index()].name;
            format!("{name} = {}", self.symbol(*symbol))
        };
        let shapes: Vec<String> = symbols.iter().map(text).collect();
        if shapes.is_empty() {
            return String::new();
        }
        format!(", for {}", shapes.join(", "))
    }
}

fn users(cascade: &Cascade) -> Vec<usize> {
    let mut users = vec![0; cascade.defs.len()];
    for output in &cascade.outputs {
        users[output.def.index()] += 1;
    }
    for def in &cascade.defs {
        let (mut seen, mut read) = (BTreeSet::new(), BTreeSet::new());
        let mut stack: Vec<ExprId> = def.conds.iter().copied().chain([def.body]).collect();
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Expr::Def(other, _) = cascade.exprs.get(id) {
                read.insert(other.index());
            }
            stack.extend(cascade.exprs.children(id));
        }
        for other in read {
            users[other] += 1;
        }
    }
    users
}
