//! A small notation for cascades in tests: one statement a line, every index and every sum written out.
//!
//! ```text
//! rank p, m, e = 4
//! in Q[p,e], K[m,e]
//! S[p,m] = sum[e](Q[p,e] * K[m,e]) where m <= p
//! out O[p] = sum[m](exp(S[p,m]))
//! ```
//! A reduction takes over the conditions of the definitions that its body reads.
#![allow(dead_code, reason = "each test file uses its own part")]

use einloom_cascade::CascadeBuilder;
use einloom_cascade::build::Rank;
use einloom_cascade::expr::{DType, DefId, Expr, ExprId, InputId, MapOp, ReduceOp, VarId};
use einloom_cascade::ir::Cascade;
use std::collections::BTreeMap;

pub(crate) struct Mini {
    b: CascadeBuilder,
    ranks: BTreeMap<String, (Rank, VarId)>,
    inputs: BTreeMap<String, InputId>,
    defs: BTreeMap<String, DefId>,
    scalars: BTreeMap<String, ExprId>,
    text: Vec<char>,
    at: usize,
    /// Conditions of definitions read so far in the current reduction.
    conds: Vec<ExprId>,
}

pub(crate) fn cascade(name: &str, text: &str) -> Cascade {
    let mut mini = Mini {
        b: CascadeBuilder::new(name),
        ranks: BTreeMap::new(),
        inputs: BTreeMap::new(),
        defs: BTreeMap::new(),
        scalars: BTreeMap::new(),
        text: Vec::new(),
        at: 0,
        conds: Vec::new(),
    };
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        mini.text = line.chars().collect();
        mini.at = 0;
        mini.statement();
    }
    mini.b.finish()
}

impl Mini {
    fn blank(&mut self) {
        while self.text.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        self.blank();
        let ahead: String = self.text[self.at..].iter().take(token.len()).collect();
        let word = token.chars().all(char::is_alphanumeric);
        let next = self.text.get(self.at + token.len());
        if ahead != token || word && next.is_some_and(|c| c.is_alphanumeric() || *c == '_') {
            return false;
        }
        self.at += token.len();
        true
    }

    fn need(&mut self, token: &str) {
        let rest: String = self.text[self.at..].iter().collect();
        assert!(self.eat(token), "expected `{token}` at `{rest}`");
    }

    fn name(&mut self) -> String {
        self.blank();
        let start = self.at;
        while self.text.get(self.at).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
            self.at += 1;
        }
        let name: String = self.text[start..self.at].iter().collect();
        assert!(
            !name.is_empty(),
            "name expected in {:?}",
            self.text.iter().collect::<String>()
        );
        name
    }

    fn names(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        self.need("[");
        if self.eat("]") {
            return names;
        }
        loop {
            names.push(self.name());
            if self.eat("]") {
                return names;
            }
            self.need(",");
        }
    }

    fn vars(&mut self) -> Vec<VarId> {
        self.names().iter().map(|n| self.ranks[n].1).collect()
    }

    fn statement(&mut self) {
        if self.eat("rank") {
            loop {
                let name = self.name();
                let rank = if self.eat("=") {
                    let extent = self.name();
                    match extent.parse() {
                        Ok(n) => self.b.fixed_rank(&name, n),
                        Err(_) => {
                            let extent = self.b.extent(self.ranks[&extent.to_lowercase()].0);
                            self.b.rank_with(&name, extent)
                        }
                    }
                } else {
                    self.b.rank(&name)
                };
                let var = self.b.var(rank);
                self.ranks.insert(name, (rank, var));
                if !self.eat(",") {
                    return;
                }
            }
        }
        if self.eat("scalar") {
            let name = self.name();
            let scalar = self.b.scalar(&name, DType::F32, None);
            self.scalars.insert(name, scalar);
            return;
        }
        if self.eat("in") {
            return self.input();
        }
        let output = self.eat("out");
        let name = self.name();
        let dims = self.vars();
        self.need("=");
        self.conds.clear();
        let body = self.expr();
        let mut conds = std::mem::take(&mut self.conds);
        if self.eat("where") {
            loop {
                conds.push(self.expr());
                if !self.eat(",") {
                    break;
                }
            }
        }
        let def = self.b.def(&name, &dims, &conds, body);
        if output {
            self.b.output(def, DType::F32);
        }
        self.defs.insert(name, def);
    }

    fn input(&mut self) {
        let mut inputs = Vec::new();
        loop {
            let name = self.name();
            let ranks: Vec<Rank> = self.names().iter().map(|n| self.ranks[n].0).collect();
            inputs.push((name, ranks));
            if !self.eat(",") {
                break;
            }
        }
        let dtype = match self.eat(":").then(|| self.name()).as_deref() {
            Some("bf16") => DType::BF16,
            Some("f16") => DType::F16,
            Some("i32") => DType::I32,
            Some("bool") => DType::Bool,
            _ => DType::F32,
        };
        for (name, ranks) in inputs {
            let input = self.b.input(&name, dtype, &ranks);
            self.inputs.insert(name, input);
        }
    }

    fn expr(&mut self) -> ExprId {
        let mut left = self.comparison();
        loop {
            let op = if self.eat("and") {
                MapOp::And
            } else if self.eat("or") {
                MapOp::Or
            } else {
                return left;
            };
            let right = self.comparison();
            left = self.b.map(op, &[left, right]);
        }
    }

    fn comparison(&mut self) -> ExprId {
        let left = self.sum();
        for (token, op, swap) in [
            ("<=", MapOp::Le, false),
            (">=", MapOp::Le, true),
            ("==", MapOp::Eq, false),
            ("!=", MapOp::Ne, false),
            ("<", MapOp::Lt, false),
            (">", MapOp::Lt, true),
        ] {
            if self.eat(token) {
                let right = self.sum();
                let pair = if swap { [right, left] } else { [left, right] };
                return self.b.map(op, &pair);
            }
        }
        left
    }

    fn sum(&mut self) -> ExprId {
        let mut left = self.product();
        loop {
            let op = if self.eat("+") {
                MapOp::Add
            } else if self.eat("-") {
                MapOp::Sub
            } else {
                return left;
            };
            let right = self.product();
            left = self.b.map(op, &[left, right]);
        }
    }

    fn product(&mut self) -> ExprId {
        let mut left = self.power();
        loop {
            let op = if self.eat("*") {
                MapOp::Mul
            } else if self.eat("//") {
                MapOp::IDiv
            } else if self.eat("/") {
                MapOp::Div
            } else if self.eat("%") {
                MapOp::IMod
            } else {
                return left;
            };
            let right = self.power();
            left = self.b.map(op, &[left, right]);
        }
    }

    fn power(&mut self) -> ExprId {
        let left = self.primary();
        if !self.eat("^") {
            return left;
        }
        let right = self.primary();
        self.b.map(MapOp::Pow, &[left, right])
    }

    fn primary(&mut self) -> ExprId {
        if self.eat("(") {
            let e = self.expr();
            self.need(")");
            return e;
        }
        if self.eat("-") {
            let e = self.power();
            return self.b.map(MapOp::Neg, &[e]);
        }
        self.blank();
        if self.text[self.at].is_ascii_digit() {
            return self.number();
        }
        let name = self.name();
        if let Some(op) = reduction(&name) {
            return self.reduction(op);
        }
        self.blank();
        match self.text.get(self.at) {
            Some('[') => self.read(&name),
            Some('(') => self.call(&name),
            _ => {
                if let Some(scalar) = self.scalars.get(&name) {
                    return *scalar;
                }
                if let Some((_, var)) = self.ranks.get(&name) {
                    return self.b.at(*var);
                }
                self.b.extent(self.ranks[&name.to_lowercase()].0)
            }
        }
    }

    /// `2` is an int, `2.` and `0.5` are reals.
    fn number(&mut self) -> ExprId {
        let start = self.at;
        while self.text.get(self.at).is_some_and(|c| c.is_ascii_digit() || *c == '.') {
            self.at += 1;
        }
        let text: String = self.text[start..self.at].iter().collect();
        match text.parse::<i64>() {
            Ok(value) => self.b.int(value),
            Err(_) => self.b.real(text.parse().expect("a number")),
        }
    }

    fn reduction(&mut self, op: ReduceOp) -> ExprId {
        let vars = self.vars();
        self.need("(");
        let outside = std::mem::take(&mut self.conds);
        let body = self.expr();
        let mut own = Vec::new();
        if self.eat("where") {
            loop {
                own.push(self.expr());
                if !self.eat(",") {
                    break;
                }
            }
        }
        let mut conds = std::mem::replace(&mut self.conds, outside);
        conds.extend(own);
        self.need(")");
        self.b.reduce(op, &vars, &conds, body)
    }

    fn read(&mut self, name: &str) -> ExprId {
        self.need("[");
        let mut index = Vec::new();
        while !self.eat("]") {
            index.push(self.sum());
            self.eat(",");
        }
        if let Some(input) = self.inputs.get(name) {
            return self.b.read(*input, &index);
        }
        let def = self.defs[name];
        let read = self.b.value(def, &index);
        let source = self.b.cascade_mut().defs[def.index()].clone();
        for cond in source.conds {
            let cond = rename(self.b.cascade_mut(), cond, &source.dims, &index);
            if !self.conds.contains(&cond) {
                self.conds.push(cond);
            }
        }
        read
    }

    fn call(&mut self, name: &str) -> ExprId {
        self.need("(");
        let mut args = Vec::new();
        while !self.eat(")") {
            args.push(self.expr());
            self.eat(",");
        }
        if name == "select" {
            return self.b.select(args[0], args[1], args[2]);
        }
        let op = match name {
            "exp" => MapOp::Exp,
            "log" => MapOp::Log,
            "tanh" => MapOp::Tanh,
            "sqrt" => MapOp::Sqrt,
            "rsqrt" => MapOp::Rsqrt,
            "abs" => MapOp::Abs,
            "min2" => MapOp::Min,
            "max2" => MapOp::Max,
            "real" => MapOp::ToReal,
            "not" => MapOp::Not,
            _ => panic!("unknown function {name}"),
        };
        self.b.map(op, &args)
    }
}

fn reduction(name: &str) -> Option<ReduceOp> {
    Some(match name {
        "sum" => ReduceOp::Sum,
        "max" => ReduceOp::Max,
        "min" => ReduceOp::Min,
        "any" => ReduceOp::Any,
        "argmax" => ReduceOp::ArgMax,
        _ => return None,
    })
}

/// Puts indices in place of variables in a condition (which has no bound variables here).
fn rename(cascade: &mut Cascade, e: ExprId, dims: &[VarId], index: &[ExprId]) -> ExprId {
    let children: Vec<ExprId> = cascade.exprs.children(e);
    let children: Vec<ExprId> = children.into_iter().map(|c| rename(cascade, c, dims, index)).collect();
    let expr = match cascade.exprs.get(e).clone() {
        Expr::Var(v) => match dims.iter().position(|d| *d == v) {
            Some(at) => return index[at],
            None => Expr::Var(v),
        },
        Expr::Input(i, _) => Expr::Input(i, children),
        Expr::Def(d, _) => Expr::Def(d, children),
        Expr::Map(op, _) => Expr::Map(op, children),
        Expr::Select(_) => Expr::Select([children[0], children[1], children[2]]),
        other => other,
    };
    cascade.exprs.add(expr)
}
