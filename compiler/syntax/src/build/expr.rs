//! From the pairs of pest to the tree: expressions.
//!
//! Levels of precedence with one operand are passed in a loop, so that recursion is one frame a node. Every node knows
//! its depth while it is built; a tree deeper than [`MAX_DEPTH`] is cut and noted, never handed on.

use pest::iterators::Pair;

use super::{Builder, parts};
use crate::ast::{BinaryOp, CompareOp, Comparison, Expr, ExprKind, MAX_DEPTH, Number, NumberValue};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::grammar::Rule;
use crate::span::Span;

/// An expression and its depth.
struct Node {
    expr: Expr,
    depth: usize,
}

impl Builder<'_> {
    /// The expression of a pair of the rule `expr` or of any level below it.
    pub(super) fn expr(&mut self, pair: Pair<'_, Rule>) -> Expr {
        self.node(pair).expr
    }

    fn node(&mut self, mut pair: Pair<'_, Rule>) -> Node {
        loop {
            match pair.as_rule() {
                Rule::expr
                | Rule::guarded
                | Rule::disj
                | Rule::conj
                | Rule::neg
                | Rule::compare
                | Rule::sum
                | Rule::product
                | Rule::unary
                | Rule::power => {
                    let mut inner = pair.clone().into_inner();
                    let first = inner.next().expect("a level of precedence has an operand");
                    if inner.peek().is_some() {
                        return self.level(pair);
                    }
                    pair = first;
                }
                Rule::number => {
                    let span = self.span(&pair);
                    let number = self.number(&pair);
                    return Node {
                        expr: Expr {
                            span,
                            kind: ExprKind::Number(number),
                        },
                        depth: 1,
                    };
                }
                Rule::ident => {
                    let name = self.ident(pair);
                    return Node {
                        expr: Expr {
                            span: name.span,
                            kind: ExprKind::Name(name),
                        },
                        depth: 1,
                    };
                }
                _ => return self.bracketed(pair),
            }
        }
    }

    /// A node above `depth`s of its operands.
    fn finish(&mut self, span: Span, kind: ExprKind, deepest: usize) -> Node {
        let depth = deepest + 1;
        if depth > MAX_DEPTH && self.too_deep.is_none() {
            self.too_deep = Some(span);
        }
        Node {
            expr: Expr { span, kind },
            depth,
        }
    }

    /// All operands; the depth is the largest.
    fn nodes<'p>(&mut self, pairs: impl Iterator<Item = Pair<'p, Rule>>) -> (Vec<Expr>, usize) {
        let mut deepest = 0;
        let exprs = pairs
            .map(|pair| {
                let node = self.node(pair);
                deepest = deepest.max(node.depth);
                node.expr
            })
            .collect();
        (exprs, deepest)
    }

    /// A level of precedence that has an operator.
    fn level(&mut self, pair: Pair<'_, Rule>) -> Node {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        match rule {
            Rule::sum | Rule::product => self.chain(pair),
            Rule::compare => self.comparison(pair),
            Rule::power => {
                let (caret, mut inner) = (pair.clone().into_inner().nth(1), parts(pair));
                let op_span = caret.map_or(span, |caret| self.span(&caret));
                let mut next = || self.node(inner.next().expect("a power has two operands"));
                let (left, right) = (next(), next());
                self.binary(BinaryOp::Pow, op_span, left, right)
            }
            _ => {
                let (mut exprs, deepest) = self.nodes(parts(pair));
                let mut one = || Box::new(exprs.pop().expect("a level of precedence has an operand"));
                let kind = match rule {
                    Rule::unary => ExprKind::Neg(one()),
                    Rule::neg => ExprKind::Not(one()),
                    Rule::guarded => {
                        let cond = one();
                        ExprKind::Where { value: one(), cond }
                    }
                    Rule::conj => ExprKind::And(exprs),
                    Rule::disj => ExprKind::Or(exprs),
                    _ => ExprKind::Else(exprs),
                };
                self.finish(span, kind, deepest)
            }
        }
    }

    /// Left associative operators of one level.
    fn chain(&mut self, pair: Pair<'_, Rule>) -> Node {
        let mut inner = pair.into_inner();
        let mut left = self.node(inner.next().expect("a chain has a first operand"));
        while let (Some(op), Some(right)) = (inner.next(), inner.next()) {
            let op_span = self.span(&op);
            let op = match op.as_str() {
                "+" => BinaryOp::Add,
                "-" => BinaryOp::Sub,
                "*" => BinaryOp::Mul,
                "/" => BinaryOp::Div,
                "div" => BinaryOp::FloorDiv,
                _ => BinaryOp::Mod,
            };
            let right = self.node(right);
            left = self.binary(op, op_span, left, right);
            if self.too_deep.is_some() {
                break;
            }
        }
        left
    }

    fn binary(&mut self, op: BinaryOp, op_span: Span, left: Node, right: Node) -> Node {
        let span = left.expr.span.to(right.expr.span);
        let deepest = left.depth.max(right.depth);
        let (left, right) = (Box::new(left.expr), Box::new(right.expr));
        self.finish(
            span,
            ExprKind::Binary {
                op,
                op_span,
                left,
                right,
            },
            deepest,
        )
    }

    fn comparison(&mut self, pair: Pair<'_, Rule>) -> Node {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let first = self.node(inner.next().expect("a comparison has a first operand"));
        let (mut rest, mut deepest) = (Vec::new(), first.depth);
        while let (Some(op), Some(right)) = (inner.next(), inner.next()) {
            let op_span = self.span(&op);
            let op = match op.as_str() {
                "==" => CompareOp::Eq,
                "!=" => CompareOp::Ne,
                "<=" => CompareOp::Le,
                ">=" => CompareOp::Ge,
                "<" => CompareOp::Lt,
                _ => CompareOp::Gt,
            };
            let right = self.node(right);
            deepest = deepest.max(right.depth);
            rest.push(Comparison {
                op,
                op_span,
                right: right.expr,
            });
        }
        self.finish(
            span,
            ExprKind::Compare {
                first: Box::new(first.expr),
                rest,
            },
            deepest,
        )
    }

    /// Parentheses, calls, substitutions, index lists.
    fn bracketed(&mut self, pair: Pair<'_, Rule>) -> Node {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let mut inner = parts(pair);
        let mut next = || inner.next().expect("a bracket has its parts");
        if rule == Rule::paren {
            let node = self.node(next());
            return self.finish(span, ExprKind::Paren(Box::new(node.expr)), node.depth);
        }
        let name = self.ident(next());
        match rule {
            Rule::subst => {
                let mut deepest = 0;
                let mut pairs = Vec::new();
                for pair in inner {
                    let span = self.span(&pair);
                    let mut inner = parts(pair);
                    let rank = self.ident(inner.next().expect("a replacement has a rank"));
                    let value = self.node(inner.next().expect("a replacement has a value"));
                    deepest = deepest.max(value.depth);
                    pairs.push(crate::ast::Pair {
                        span,
                        rank,
                        value: value.expr,
                    });
                }
                self.finish(span, ExprKind::Subst { name, pairs }, deepest)
            }
            Rule::index => {
                let (args, deepest) = self.nodes(parts(next()));
                self.finish(span, ExprKind::Index { name, args }, deepest)
            }
            _ => {
                let mut part = next();
                let mut ranks = Vec::new();
                if part.as_rule() == Rule::ranks {
                    ranks = parts(part).map(|rank| self.ident(rank)).collect();
                    part = next();
                }
                let (args, deepest) = self.nodes(parts(part));
                self.finish(span, ExprKind::Call { name, ranks, args }, deepest)
            }
        }
    }

    /// The number of a pair of the rule `number`; out of range it is reported and stands as 1, which is an extent and a divisor.
    pub(super) fn number(&mut self, pair: &Pair<'_, Rule>) -> Number {
        let text = pair.as_str();
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let value = if digits {
            text.parse().ok().map(NumberValue::Int)
        } else {
            text.parse()
                .ok()
                .filter(|value: &f64| value.is_finite())
                .map(NumberValue::Real)
        };
        if value.is_none() {
            let message = if digits {
                "the integer does not fit in 64 bits"
            } else {
                "the number is too large for a 64-bit real"
            };
            let diagnostic = Diagnostic::new(Code::E0107, message).primary(self.span(pair), "");
            self.diagnostics.push(if digits {
                diagnostic
            } else {
                diagnostic.help("infinity is written `inf`")
            });
        }
        Number {
            text: text.to_string(),
            value: value.unwrap_or(NumberValue::Int(1)),
        }
    }
}
