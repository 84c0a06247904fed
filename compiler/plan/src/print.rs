//! A plan as text: deterministic, for snapshots and `explain`.
//!
//! Accumulators are written with their four laws: *init*, *absorb* (`x'` is the value after a tile, `over live` the points
//! of the tile where the conditions hold), *merge* (of the states `@1` and `@2` of two parts), *finish* (in the stores). A
//! reference `g0` is one of the exponent `x0`.

mod domain;
mod formula;

pub use formula::Formula;

use crate::ir::{Carry, Chunks, Event, EventKind, FusedPlan, Kernel, LeafDef, Policy, Reference, Store, Sweep, Target};
use einloom_cascade::expr::{ExprId, LeafId, ReduceOp, VarId};
use std::fmt::Write;

/// The whole plan, with the *why* report at the end.
pub fn print(plan: &FusedPlan) -> String {
    let names = Names::new(plan);
    let leaf = |leaf: LeafId| names.leaf(leaf);
    let printer = Printer {
        plan,
        names: &names,
        formula: Formula::new(&plan.cascade, &leaf),
    };
    let mut text = String::new();
    printer.plan(&mut text).expect("writing to a string should not fail");
    text
}

/// The *why* report alone, one line for each event.
pub fn why(plan: &FusedPlan) -> String {
    plan.why
        .iter()
        .map(|event| format!("{}\n", event_line(event)))
        .collect()
}

/// Names of leaves: carries by their own name (with kernel and sweep where two have the same), references `g0`, `g1`, ..
struct Names {
    leaves: Vec<String>,
    carries: Vec<Vec<Vec<String>>>,
    references: Vec<Vec<Vec<String>>>,
}

impl Names {
    fn new(plan: &FusedPlan) -> Names {
        let all = || plan.kernels.iter().flat_map(|k| &k.sweeps).flat_map(|s| &s.carries);
        let unique = |name: &str| all().filter(|carry| carry.name == name).count() == 1;
        let mut number = 0;
        let (mut carries, mut references) = (Vec::new(), Vec::new());
        for (k, kernel) in plan.kernels.iter().enumerate() {
            let (mut of_carries, mut of_references) = (Vec::new(), Vec::new());
            for (s, sweep) in kernel.sweeps.iter().enumerate() {
                let carry = |(c, carry): (usize, &Carry)| match unique(&carry.name) {
                    true => carry.name.clone(),
                    false => format!("{}.{k}.{s}.{c}", carry.name),
                };
                of_carries.push(sweep.carries.iter().enumerate().map(carry).collect());
                let first = number;
                number += sweep.references.len();
                of_references.push((first..number).map(|n| format!("g{n}")).collect());
            }
            carries.push(of_carries);
            references.push(of_references);
        }
        let mut names = Names {
            leaves: Vec::new(),
            carries,
            references,
        };
        names.leaves = plan.leaves.iter().map(|&leaf| names.of(plan, leaf)).collect();
        names
    }

    fn of(&self, plan: &FusedPlan, leaf: LeafDef) -> String {
        let at = |table: &[Vec<Vec<String>>], (k, s, n): (usize, usize, usize)| {
            let name = table.get(k).and_then(|k| k.get(s)).and_then(|s| s.get(n));
            name.cloned().unwrap_or_else(|| "undefined".into())
        };
        match leaf {
            LeafDef::Carry { kernel, sweep, carry } => at(&self.carries, (kernel, sweep, carry)),
            LeafDef::Reference {
                kernel,
                sweep,
                reference,
            } => at(&self.references, (kernel, sweep, reference)),
            LeafDef::Crossing(n) => crossing(plan, n),
            LeafDef::State { kernel, sweep, carry } => {
                let chunks = plan.kernels[kernel].sweeps[sweep].chunks.as_ref();
                let carry = chunks.and_then(|c| c.state.carries.get(carry));
                carry.map_or_else(|| "undefined".into(), |c| c.name.clone())
            }
            LeafDef::StateReference {
                kernel,
                sweep,
                reference,
            } => state_reference((kernel, sweep, reference)),
        }
    }

    fn leaf(&self, leaf: LeafId) -> String {
        let name = self.leaves.get(leaf.index());
        name.cloned().unwrap_or_else(|| "undefined".into())
    }
}

/// Name of a reference of a shared state: `gs0`, with kernel and sweep where they are not the first.
fn state_reference((kernel, sweep, reference): (usize, usize, usize)) -> String {
    match (kernel, sweep) {
        (0, 0) => format!("gs{reference}"),
        _ => format!("gs{reference}.{kernel}.{sweep}"),
    }
}

fn crossing(plan: &FusedPlan, n: usize) -> String {
    let name = plan.crossings.get(n).map(|crossing| crossing.name.clone());
    name.unwrap_or_else(|| "undefined".into())
}

/// Report lines that only a finished plan can give: which conditions gave which bounds, how references are chosen.
pub(crate) fn late_events(plan: &FusedPlan) -> Vec<Event> {
    let names = Names::new(plan);
    let leaf = |leaf: LeafId| names.leaf(leaf);
    let formula = Formula::new(&plan.cascade, &leaf);
    let mut events: Vec<Event> = Vec::new();
    for (k, kernel) in plan.kernels.iter().enumerate() {
        for (s, sweep) in kernel.sweeps.iter().enumerate() {
            let mut lists: Vec<(&Vec<ExprId>, Vec<&str>)> = Vec::new();
            for (carry, name) in sweep.carries.iter().zip(&names.carries[k][s]) {
                match lists.iter_mut().find(|(conds, _)| **conds == carry.conds) {
                    Some((_, carries)) => carries.push(name),
                    None => lists.push((&carry.conds, vec![name])),
                }
            }
            for (conds, carries) in lists {
                if let Some(line) = domain::line(plan, &names, kernel, sweep, conds) {
                    let text = format!("{}: where {} -> {line}", carries.join(", "), formula.conjunction(conds));
                    let def = plan
                        .cascade
                        .defs
                        .iter()
                        .find(|d| conds.iter().any(|c| d.conds.contains(c)));
                    let span = def.map(|d| d.span);
                    events.push(Event {
                        kind: EventKind::Domain,
                        span,
                        text,
                    });
                }
            }
            for (r, reference) in sweep.references.iter().enumerate() {
                let weighed = |c: &&Carry| c.weight.is_some_and(|(at, _)| at == r);
                let users: Vec<&str> = (sweep.carries.iter().zip(&names.carries[k][s]))
                    .filter(|(c, _)| weighed(c))
                    .map(|(_, name)| name.as_str())
                    .collect();
                let stated = plan.cascade.policies.iter().find(|p| p.key == "reference");
                let by = match stated {
                    Some(policy) => format!("policy reference = {}", policy.value),
                    None => "no policy in the spec".to_owned(),
                };
                let use_of = match users.as_slice() {
                    [] => "tells whether a row is empty".to_owned(),
                    users => format!("weighs {}", users.join(", ")),
                };
                let text = format!(
                    "{} of {}: exponent not proved bounded, {} ({by}); {use_of}",
                    names.references[k][s][r],
                    formula.text(reference.form),
                    policy_text(reference.policy),
                );
                let span = stated.map(|policy| policy.span);
                events.push(Event {
                    kind: EventKind::Policy,
                    span,
                    text,
                });
            }
        }
    }
    events
}

fn policy_text(policy: Policy) -> &'static str {
    match policy {
        Policy::Running => "running maximum",
        Policy::First => "maximum of the first tile, raised by the guard",
        Policy::Lazy => "maximum, raised in steps",
    }
}

struct Printer<'a> {
    plan: &'a FusedPlan,
    names: &'a Names,
    formula: Formula<'a>,
}

impl Printer<'_> {
    fn plan(&self, out: &mut String) -> std::fmt::Result {
        let plan = self.plan;
        writeln!(out, "plan {}", plan.cascade.name)?;
        for (name, choice) in &plan.cascade.choices {
            writeln!(out, "  choice {name} = {choice}")?;
        }
        let kernels = plural(plan.kernels.len(), "kernel");
        let written = plan.sweeps_written;
        writeln!(out, "  sweeps {written} as written, {} planned, {kernels}", plan.sweeps)?;
        for crossing in &plan.crossings {
            let dims = self.formula.vars(&crossing.dims);
            writeln!(out, "  crossing {}[{dims}] : {:?}", crossing.name, crossing.kind)?;
        }
        for (k, kernel) in plan.kernels.iter().enumerate() {
            writeln!(out)?;
            self.kernel(out, k, kernel)?;
        }
        if !plan.why.is_empty() {
            writeln!(out, "\nwhy")?;
            for event in &plan.why {
                writeln!(out, "  {}", event_line(event))?;
            }
        }
        Ok(())
    }

    fn kernel(&self, out: &mut String, k: usize, kernel: &Kernel) -> std::fmt::Result {
        writeln!(out, "kernel {k} {}", kernel.name)?;
        writeln!(out, "  resident {}", self.vars(&kernel.resident))?;
        if !kernel.domain.is_empty() {
            writeln!(out, "  exists where {}", self.formula.conjunction(&kernel.domain))?;
        }
        for (s, sweep) in kernel.sweeps.iter().enumerate() {
            match sweep.stream.as_slice() {
                [] => writeln!(out, "  sweep {s}: one step")?,
                stream => writeln!(out, "  sweep {s} over {}", self.vars(stream))?,
            }
            for (r, reference) in sweep.references.iter().enumerate() {
                let name = &self.names.references[k][s][r];
                self.reference(out, (kernel, sweep), name, reference)?;
            }
            for (c, carry) in sweep.carries.iter().enumerate() {
                let name = &self.names.carries[k][s][c];
                let weight = carry.weight.map(|(r, coefficient)| {
                    let name = self.names.references[k][s].get(r);
                    (name.cloned().unwrap_or_else(|| "undefined".into()), coefficient)
                });
                self.carry(out, (kernel, sweep), name, carry, weight)?;
            }
            for emit in &sweep.emits {
                self.store(out, "    emit", emit)?;
            }
            if let Some(chunks) = &sweep.chunks {
                self.chunks(out, (kernel, sweep), (k, s), chunks)?;
            }
        }
        for store in &kernel.stores {
            self.store(out, "  store", store)?;
        }
        Ok(())
    }

    fn chunks(
        &self,
        out: &mut String,
        (kernel, sweep): (&Kernel, &Sweep),
        (k, s): (usize, usize),
        chunks: &Chunks,
    ) -> std::fmt::Result {
        let (row, stream) = (self.vars(&[chunks.row]), self.vars(&chunks.state.stream));
        let last = self.formula.text(chunks.last);
        writeln!(
            out,
            "    chunks of {row}: a state of {stream} <= {last} of the first row, fewer multiply-adds from {stream} = {} on",
            chunks.pays_from
        )?;
        let at = (kernel, &chunks.state);
        for (r, reference) in chunks.state.references.iter().enumerate() {
            self.reference(out, at, &state_reference((k, s, r)), reference)?;
        }
        for carry in &chunks.state.carries {
            let weight = carry
                .weight
                .map(|(r, coefficient)| (state_reference((k, s, r)), coefficient));
            self.carry(out, at, &carry.name, carry, weight)?;
        }
        for (r, &start) in chunks.references.iter().enumerate() {
            let name = self.indexed(&self.names.references[k][s][r], &sweep.references[r].dims);
            writeln!(out, "    start {name} = {}", self.formula.text(start))?;
        }
        for (c, &start) in chunks.carries.iter().enumerate() {
            let name = self.indexed(&self.names.carries[k][s][c], &sweep.carries[c].dims);
            writeln!(out, "    start {name} = {}", self.formula.text(start))?;
        }
        Ok(())
    }

    fn vars(&self, vars: &[VarId]) -> String {
        match vars {
            [] => "nothing".into(),
            _ => self.formula.vars(vars),
        }
    }

    fn indexed(&self, name: &str, dims: &[VarId]) -> String {
        match dims {
            [] => name.to_string(),
            _ => format!("{name}[{}]", self.formula.vars(dims)),
        }
    }

    fn conds(&self, out: &mut String, at: (&Kernel, &Sweep), conds: &[ExprId]) -> std::fmt::Result {
        if !conds.is_empty() {
            writeln!(out, "      where   {}", self.formula.conjunction(conds))?;
        }
        match domain::line(self.plan, self.names, at.0, at.1, conds) {
            Some(line) => writeln!(out, "      domain  {line}"),
            None => Ok(()),
        }
    }

    fn reference(
        &self,
        out: &mut String,
        at: (&Kernel, &Sweep),
        name: &str,
        reference: &Reference,
    ) -> std::fmt::Result {
        let policy = policy_text(reference.policy);
        writeln!(out, "    reference {}: {policy}", self.indexed(name, &reference.dims))?;
        let form = self.formula.text(reference.form);
        writeln!(out, "      of      x{} = {form}", name.trim_start_matches('g'))?;
        if !reference.inner.is_empty() {
            writeln!(out, "      inner   {}", self.formula.vars(&reference.inner))?;
        }
        self.conds(out, at, &reference.conds)
    }

    fn carry(
        &self,
        out: &mut String,
        at: (&Kernel, &Sweep),
        name: &str,
        carry: &Carry,
        weight: Option<(String, (i64, i64))>,
    ) -> std::fmt::Result {
        let head = self.indexed(name, &carry.dims);
        let meaning = match carry.meaning.as_str() {
            "" => String::new(),
            meaning => format!(" = {meaning}"),
        };
        let ordered = if carry.ordered { ", in stream order" } else { "" };
        writeln!(out, "    carry {head}{meaning}{ordered}")?;
        if !carry.inner.is_empty() {
            writeln!(out, "      inner   {}", self.formula.vars(&carry.inner))?;
        }
        writeln!(out, "      init    {}", identity(carry.op))?;
        let op = formula::reduction(carry.op);
        match weight {
            Some((g, k)) => {
                let x = format!("x{}", g.trim_start_matches('g'));
                let weight = |a: &str, b: &str| match coefficient(k) {
                    k if k.is_empty() => format!("exp({a} - {b})"),
                    k => format!("exp({k}({a} - {b}))"),
                };
                let (next, first, second) = (format!("{g}'"), format!("{g}@1"), format!("{g}@2"));
                let absorbed = match self.formula.text(carry.streamed).as_str() {
                    "1.0" => String::new(),
                    _ => format!(" * {}", self.formula.factor(carry.streamed)),
                };
                writeln!(
                    out,
                    "      absorb  {name}' = {name} * {} + sum over live of {}{absorbed}",
                    weight(&g, &next),
                    weight(&x, &next)
                )?;
                writeln!(
                    out,
                    "      merge   {name} = {name}@1 * {} + {name}@2 * {}",
                    weight(&first, &g),
                    weight(&second, &g)
                )?;
            }
            None => {
                let streamed = self.formula.text(carry.streamed);
                writeln!(
                    out,
                    "      absorb  {name}' = {op}({name}, {op} over live of {streamed})"
                )?;
                writeln!(out, "      merge   {name} = {op}({name}@1, {name}@2)")?;
            }
        }
        self.conds(out, at, &carry.conds)
    }

    fn store(&self, out: &mut String, head: &str, store: &Store) -> std::fmt::Result {
        let target = match store.target {
            Target::Output(n) => match self.plan.cascade.outputs.get(n) {
                Some(output) => output.name.clone(),
                None => "undefined".into(),
            },
            Target::Crossing(n) => crossing(self.plan, n),
        };
        let places: Vec<String> = store.places.iter().map(|&p| self.formula.text(p)).collect();
        let target = match places.as_slice() {
            [] => target,
            _ => format!("{target}[{}]", places.join(", ")),
        };
        write!(out, "{head} {target} = {}", self.formula.text(store.value))?;
        if !store.vars.is_empty() {
            write!(out, " for {}", self.formula.vars(&store.vars))?;
        }
        if !store.conds.is_empty() {
            write!(out, " where {}", self.formula.conjunction(&store.conds))?;
        }
        writeln!(out)
    }
}

fn plural(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

fn coefficient(k: (i64, i64)) -> String {
    match k {
        (1, 1) => String::new(),
        (n, 1) => format!("{n} * "),
        (n, d) => format!("{n}/{d} * "),
    }
}

fn identity(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "0",
        ReduceOp::Prod => "1",
        ReduceOp::Max => "-inf",
        ReduceOp::Min => "inf",
        ReduceOp::Any => "false",
        ReduceOp::All => "true",
        ReduceOp::ArgMax | ReduceOp::ArgMin => "-1",
    }
}

fn event_line(event: &Event) -> String {
    let kind = match event.kind {
        EventKind::Rule => "rule",
        EventKind::Carry => "carry",
        EventKind::Dead => "dead",
        EventKind::Rejected => "rejected",
        EventKind::Barrier => "barrier",
        EventKind::Domain => "domain",
        EventKind::Policy => "policy",
    };
    format!("{kind}: {}", event.text)
}
