//! The page of every code: the reason of the rule, a program that breaks it, and the same program repaired.
//!
//! This is the one source: the manual's page of a code is made from it. The programs are complete, so that they can be
//! checked; codes about limits and about launches have none.

use super::Code;

/// What `explain` says about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Why the rule exists and what it says.
    pub reason: &'static str,
    /// A program that gets the message; empty where none is short enough to show.
    pub wrong: &'static str,
    /// The program repaired; empty like `wrong`.
    pub right: &'static str,
}

impl Code {
    /// The page of the code.
    pub fn page(self) -> Page {
        match self {
            Code::E0101 => Page {
                reason: "A token stands where the grammar has no place for it: a bracket or list is not closed, a \
                    separator or a type is missing, or two values stand side by side without an operator; \
                    products are written with `*`. The rest of the file is still read, from the next line that \
                    begins in column 0.",
                wrong: "rank p, m\n\
             in  X[p,m] : f32\n\
             out Y[p] : f32 = sum[m](X[p,m)",
                right: "rank p, m\n\
             in  X[p,m] : f32\n\
             out Y[p] : f32 = sum[m](X[p,m])",
            },
            Code::E0102 => Page {
                reason: "Line ends only separate tokens, so an operator at the end of a line takes its operand from \
                    the next one, and the statement there is no longer one. Write the missing operand, or remove \
                    the operator. Continuation lines are indented by the formatter; a statement begins in column \
                    0.",
                wrong: "rank p\n\
             in  X[p] : f32\n\
             Y[p] = X *\n\
             out Z[p] : f32 = X",
                right: "rank p\n\
             in  X[p] : f32\n\
             Y[p] = X * X\n\
             out Z[p] : f32 = Y",
            },
            Code::E0103 => Page {
                reason: "An operator, `where`, `else`, `from` or a comma has nothing behind it.",
                wrong: "rank p\n\
             in  X[p] : f32\n\
             out Y[p] : f32 = X where",
                right: "rank p\n\
             in  X[p] : f32\n\
             out Y[p] : f32 = X where p < 3",
            },
            Code::E0104 => Page {
                reason: "Keywords of the language cannot be names, nor can the words that are kept for later \
                    editions: `grad kernel type if then for let scan group test`.",
                wrong: "rank p\n\
             const from = 2\n\
             in  X[p] : f32\n\
             out Y[p] : f32 = X",
                right: "rank p\n\
             const start = 2\n\
             in  X[p] : f32\n\
             out Y[p] : f32 = X where p >= start",
            },
            Code::E0105 => Page {
                reason: "Programs and comments are ASCII text: letters of other scripts look like others and would \
                    hide errors. Signs of papers and word processors have an ASCII form: `<=`, `*`, `-`, \
                    `alpha`.",
                wrong: "rank p\n\
             in  X[p] : f32\n\
             out Y[p] : f32 = X \u{d7} 2",
                right: "rank p\n\
             in  X[p] : f32\n\
             out Y[p] : f32 = X * 2",
            },
            Code::E0106 => Page {
                reason: "A source has at most 1 MiB, an expression at most 200 levels, and a file gets at most 100 \
                    messages. A chain of `+` or `*` counts a level for each operator.",
                wrong: "",
                right: "",
            },
            Code::E0107 => Page {
                reason: "Integers are 64-bit, reals are IEEE f64. Write a smaller number, or `inf`.",
                wrong: "rank p\n\
             in  X[p] : f32\n\
             out Y[p] : f32 = X + 99999999999999999999",
                right: "rank p\n\
             in  X[p] : f32\n\
             out Y[p] : f32 = X + 99999999",
            },
            Code::E0108 => Page {
                reason: "A rank is lower case, because its name in capitals is its extent: rank `p` has the extent \
                    `P`.",
                wrong: "rank P\n\
             in  X[P] : f32\n\
             out Y[P] : f32 = X",
                right: "rank p\n\
             in  X[p] : f32\n\
             out Y[p] : f32 = X",
            },
            Code::E0201 => Page {
                reason: "The name is no rank, extent, tensor, constant, parameter or definition that is known here.",
                wrong: "rank p, e\n\
             in  Q[p,e] : f32\n\
             out O[p] : f32 = sum[e](Qx)",
                right: "rank p, e\n\
             in  Q[p,e] : f32\n\
             out O[p] : f32 = sum[e](Q)",
            },
            Code::E0202 => Page {
                reason: "There is one name space, and a name has one definition.",
                wrong: "rank p\n\
             in  x[p] : f32\n\
             y[p] = x + 1\n\
             y[p] = x + 2\n\
             out z[p] : f32 = y",
                right: "rank p\n\
             in  x[p] : f32\n\
             y[p] = x + 1\n\
             w[p] = x + 2\n\
             out z[p] : f32 = y * w",
            },
            Code::E0203 => Page {
                reason: "An index list gives one index for each rank of the tensor, in the order of its definition. A \
                    bare name carries all its ranks.",
                wrong: "rank b, g, m, e\n\
             in  K[b,g,m,e] : f32\n\
             out O[b,m] : f32 = sum[g,e](K[b,m,e])",
                right: "rank b, g, m, e\n\
             in  K[b,g,m,e] : f32\n\
             out O[b,m] : f32 = sum[g,e](K[b,g,m,e])",
            },
            Code::E0204 => Page {
                reason: "The extent of a rank is fixed by its declaration, or at run time by an input that has the \
                    rank as a dimension. A rank with neither has no extent; in self attention the keys have as \
                    many rows as the queries.",
                wrong: "rank p, m\n\
             in  x[p] : f32\n\
             out O[p,m] : f32 = x * x[m]",
                right: "rank p, m = P\n\
             in  x[p] : f32\n\
             out O[p,m] : f32 = x * x[m]",
            },
            Code::E0205 => Page {
                reason: "If the extents of a composite rank and of all its parts are known, the product of the parts \
                    must be the whole. Extents that inputs bring are compared at launch: with `rank h = (g, r), \
                    g = 2, r = 3` and an input `x[h]`, a launch with seven heads is refused.",
                wrong: "",
                right: "",
            },
            Code::E0206 => Page {
                reason: "`x[m := ..]` replaces the rank `m` of `x` and keeps the others, so `x` must have that rank.",
                wrong: "rank p, m\n\
             in  q[p], k[m] : f32\n\
             out O[m] : f32 = k * q[m := 0]",
                right: "rank p, m\n\
             in  q[p], k[m] : f32\n\
             out O[m] : f32 = k * q[p := 0]",
            },
            Code::E0207 => Page {
                reason: "A value that is defined without an index list has no order of ranks, so it is used bare or \
                    with `:=`. The locals of a def never have a list: their values carry ranks that the def does \
                    not know.",
                wrong: "rank p, m\n\
             in  S[p,m] : f32\n\
             A = softmax[m](S)\n\
             out O[m] : f32 = A[0,m]",
                right: "rank p, m\n\
             in  S[p,m] : f32\n\
             A = softmax[m](S)\n\
             out O[m] : f32 = A[p := 0]",
            },
            Code::E0208 => Page {
                reason: "A dimension that is declared by an extent has no rank, hence nothing says along which rank \
                    the bare name runs.",
                wrong: "const W = 3\n\
             rank h\n\
             in  bias[h, 2 * W - 1] : f32\n\
             out O[h] : f32 = bias",
                right: "const W = 3\n\
             rank h\n\
             in  bias[h, 2 * W - 1] : f32\n\
             out O[h] : f32 = bias[h, W - 1]",
            },
            Code::E0209 => Page {
                reason: "Definitions come before uses. Only the values of a `rec` may be read ahead, at an index that \
                    is provably smaller, or larger in a reverse recurrence.",
                wrong: "rank p\n\
             in  x[p] : f32\n\
             out z[p] : f32 = y\n\
             y[p] = x + 1",
                right: "rank p\n\
             in  x[p] : f32\n\
             y[p] = x + 1\n\
             out z[p] : f32 = y",
            },
            Code::E0210 => Page {
                reason: "The index list of an output fixes the order of its ranks in memory.",
                wrong: "rank p, m\n\
             in  S[p,m] : f32\n\
             out A : f32 = softmax[m](S)",
                right: "rank p, m\n\
             in  S[p,m] : f32\n\
             out A[p,m] : f32 = softmax[m](S)",
            },
            Code::E0211 => Page {
                reason: "A function, reduction or def is called with the ranks and arguments of its definition: `sum[m](x)`, `exp(x)`, \
                    `softmax[m](S)`.",
                wrong: "rank p, m\n\
             in  S[p,m] : f32\n\
             out O[p] : f32 = sum(S)",
                right: "rank p, m\n\
             in  S[p,m] : f32\n\
             out O[p] : f32 = sum[m](S)",
            },
            Code::E0212 => Page {
                reason: "Extents, constants and defaults are fixed before a kernel runs: they are expressions of \
                    numbers, constants, extents and scalars. A rank is a coordinate; its extent is its name in \
                    capitals. What lies in memory comes too late.",
                wrong: "rank p, w = n[0]\n\
             in  n[p] : i32\n\
             in  x[p] : f32\n\
             out O[p,w] : f32 = x",
                right: "rank p, w = n\n\
             in  n : i32\n\
             in  x[p] : f32\n\
             out O[p,w] : f32 = x",
            },
            Code::E0213 => Page {
                reason: "A cascade without an output computes nothing.",
                wrong: "cascade nothing\n\
             rank p\n\
             in  x[p] : f32\n\
             y[p] = x + 1",
                right: "cascade something\n\
             rank p\n\
             in  x[p] : f32\n\
             out y[p] : f32 = x + 1",
            },
            Code::E0301 => Page {
                reason: "An index that stands in two or more factors of a product, and nowhere outside it, is summed. \
                    One that stands in a single factor must be on the left or be reduced by a written reduction: \
                    a forgotten index is an error, never a silent sum.",
                wrong: "rank p, m, e\n\
             in  Q[p,e], K[m,e] : f32\n\
             out O[p] : f32 = Q * K",
                right: "rank p, m, e\n\
             in  Q[p,e], K[m,e] : f32\n\
             out O[p,m] : f32 = Q * K",
            },
            Code::E0302 => Page {
                reason: "There is no implied sum over one factor. Write the reduction.",
                wrong: "rank p, m\n\
             in  S[p,m] : f32\n\
             out l[p] : f32 = exp(S)",
                right: "rank p, m\n\
             in  S[p,m] : f32\n\
             out l[p] : f32 = sum[m](exp(S))",
            },
            Code::E0303 => Page {
                reason: "The index stands in two parenthesised products of one product: it may be meant to be summed \
                    in each of them, or once over all factors. Name the parts, or write the sum.",
                wrong: "rank p, m, e\n\
             in  Q[p,e], K[m,e], U[p,e], W[m,e] : f32\n\
             out X[p,m] : f32 = (Q * K) * (U * W)",
                right: "rank p, m, e\n\
             in  Q[p,e], K[m,e], U[p,e], W[m,e] : f32\n\
             a[p,m] = Q * K\n\
             c[p,m] = U * W\n\
             out X[p,m] : f32 = a * c",
            },
            Code::E0304 => Page {
                reason: "A rank that only a condition mentions would count the term once for every point of the rank \
                    that satisfies the condition.",
                wrong: "rank p, n\n\
             in  x[p], y[n] : f32\n\
             out O[p] : f32 = x + sum[n](y) where n < 3",
                right: "rank p, n\n\
             in  x[p], y[n] : f32\n\
             out O[p] : f32 = x + sum[n](y where n < 3)",
            },
            Code::E0305 => Page {
                reason: "A sum over a rank that the value does not depend on multiplies by the extent of the rank.",
                wrong: "rank p, m\n\
             in  q[p], k[m] : f32\n\
             out O[p] : f32 = sum[m](q) + sum[m](k)",
                right: "rank p, m\n\
             in  q[p], k[m] : f32\n\
             out O[p] : f32 = M * q + sum[m](k)",
            },
            Code::E0306 => Page {
                reason: "The condition mentions a rank that is summed in one term of a sum and absent from another: \
                    it would select points of one term and repeat the other. Split the statement.",
                wrong: "rank p, m\n\
             in  A[p,m], V[m], y[p] : f32\n\
             in  z[m] : bool\n\
             out O[p] : f32 = A * V + y where z[m]",
                right: "rank p, m\n\
             in  A[p,m], V[m], y[p] : f32\n\
             in  z[m] : bool\n\
             t[p] = A * V where z\n\
             out O[p] : f32 = t + y",
            },
            Code::E0401 => Page {
                reason: "An index is an integer. `/` is real division, also of integers; `div` is floor division.",
                wrong: "rank h, g\n\
             in  q[h], k[g] : f32\n\
             out O[h] : f32 = q * k[h / 4]",
                right: "rank h, g\n\
             in  q[h], k[g] : f32\n\
             out O[h] : f32 = q * k[h div 4]",
            },
            Code::E0402 => Page {
                reason: "`==` and `!=` compare integers or bools. Equality of reals is a matter of rounding.",
                wrong: "rank p, m\n\
             in  S[p,m] : f32\n\
             out O[p] : f32 = sum[m](S where p / 16 == m / 16)",
                right: "rank p, m\n\
             in  S[p,m] : f32\n\
             out O[p] : f32 = sum[m](S where p div 16 == m div 16)",
            },
            Code::E0403 => Page {
                reason: "A chain of comparisons reads like a range, so its signs point one way.",
                wrong: "rank p\n\
             in  x[p] : f32\n\
             out O[p] : f32 = x where 0 < p > 3",
                right: "rank p\n\
             in  x[p] : f32\n\
             out O[p] : f32 = x where 0 < p < 3",
            },
            Code::E0404 => Page {
                reason: "Storage types are `f32 f16 bf16 e4m3 e5m2 i64 i32 i16 i8 i4 u32 u16 u8 u4 bool`, or a \
                    constant that chooses among them.",
                wrong: "rank p\n\
             in  x[p] : bf17\n\
             out O[p] : f32 = x",
                right: "rank p\n\
             in  x[p] : bf16\n\
             out O[p] : f32 = x",
            },
            Code::E0405 => Page {
                reason: "A condition is a bool. A number does not become one by itself.",
                wrong: "rank p\n\
             in  S[p], A[p] : f32\n\
             out O[p] : f32 = S where A",
                right: "rank p\n\
             in  S[p], A[p] : f32\n\
             out O[p] : f32 = S where A > 0",
            },
            Code::E0406 => Page {
                reason: "`div`, `mod` and the functions on bits take integers. A real never becomes an integer by itself; `floor`, `ceil` \
                    and `round` make one.",
                wrong: "rank p\n\
             in  x[p] : f32\n\
             out O[p] : f32 = x mod 2",
                right: "rank p\n\
             in  x[p] : f32\n\
             out O[p] : f32 = floor(x) mod 2",
            },
            Code::E0501 => Page {
                reason: "A recurrence reads itself at smaller indices, or in a reverse recurrence at larger ones, \
                    never both.",
                wrong: "rank t\n\
             in  u[t] : f32\n\
             rec X[t] = X[t + 1] + X[t - 1] + u from 0\n\
             out Y[t] : f32 = X",
                right: "rank t\n\
             in  u[t] : f32\n\
             rec X[t] = X[t - 1] + u from 0\n\
             out Y[t] : f32 = X",
            },
            Code::E0502 => Page {
                reason: "A tensor that reads itself is a recurrence and needs an initial value.",
                wrong: "rank t\n\
             in  u[t] : f32\n\
             X[t] = X[t - 1] + u\n\
             out Y[t] : f32 = X",
                right: "rank t\n\
             in  u[t] : f32\n\
             rec X[t] = X[t - 1] + u from 0\n\
             out Y[t] : f32 = X",
            },
            Code::E0503 => Page {
                reason: "The order of a recurrence must be evident from the index expressions: `t - 1`, or the start \
                    of a chunk. A table could point anywhere.",
                wrong: "rank t\n\
             in  u[t] : f32\n\
             in  tab[t] : i32\n\
             rec X[t] = X[tab[t]] + u from 0\n\
             out Y[t] : f32 = X",
                right: "rank t\n\
             in  u[t] : f32\n\
             rec X[t] = X[t - 1] + u from 0\n\
             out Y[t] : f32 = X",
            },
            Code::E0601 => Page {
                reason: "`K'` is the new value of an `inout` tensor `K`: the same memory after the program.",
                wrong: "rank m\n\
             in  K[m] : f32\n\
             K' = K + 1",
                right: "rank m\n\
             inout K[m] : f32\n\
             K' = K + 1",
            },
            Code::E0602 => Page {
                reason: "A def sees its parameters, constants and other defs, so that it means the same everywhere. \
                    Pass what it needs.",
                wrong: "rank p\n\
             in  x[p] : f32\n\
             in  gamma : f32\n\
             def f(y) = y * gamma\n\
             out O[p] : f32 = f(x)",
                right: "rank p\n\
             in  x[p] : f32\n\
             in  gamma : f32\n\
             def f(y, s) = y * s\n\
             out O[p] : f32 = f(x, gamma)",
            },
            Code::E0603 => Page {
                reason: "A local rank of a block ends with the block, so its result must not depend on it.",
                wrong: "rank p\n\
             in  x[p] : f32\n\
             def f(y) {\n\
             \x20   rank n = 4\n\
             \x20   return y * n\n\
             }\n\
             out O[p] : f32 = f(x)",
                right: "rank p\n\
             in  x[p] : f32\n\
             def f(y) {\n\
             \x20   rank n = 4\n\
             \x20   return sum[n](y * n)\n\
             }\n\
             out O[p] : f32 = f(x)",
            },
            Code::E0604 => Page {
                reason: "Defs are inlined, so a def may not call itself, neither directly nor through others. \
                    Iteration is a `rec` over a rank.",
                wrong: "rank p\n\
             in  x[p] : f32\n\
             def f(y) = f(y) + 1\n\
             out O[p] : f32 = f(x)",
                right: "rank p\n\
             in  x[p] : f32\n\
             def f(y) = y + 1\n\
             out O[p] : f32 = f(x)",
            },
            Code::E0801 => Page {
                reason: "The language has this construct, but this edition of the compiler does not compile it yet.",
                wrong: "rank p, m\n\
             in  S[p,m] : f32\n\
             out O[p,m] : i32 = order[m](S)",
                right: "rank p, m\n\
             in  S[p,m] : f32\n\
             out O[p] : i32 = argmax[m](S)",
            },
            Code::W0701 => Page {
                reason: "`/` divides reals, also between integers: `p / 16 < m / 16` is `p < m`. In a comparison of \
                    integers floor division is usually meant.",
                wrong: "rank p, m\n\
             in  S[p,m] : f32\n\
             out O[p] : f32 = sum[m](S where m / 16 < p / 16)",
                right: "rank p, m\n\
             in  S[p,m] : f32\n\
             out O[p] : f32 = sum[m](S where m div 16 < p div 16)",
            },
            Code::W0702 => Page {
                reason: "The condition is false at every point, so the statement has no points.",
                wrong: "rank p, m\n\
             in  S[p,m] : f32\n\
             out O[p] : f32 = sum[m](S where m > M)",
                right: "rank p, m\n\
             in  S[p,m] : f32\n\
             out O[p] : f32 = sum[m](S where m > p)",
            },
            Code::W0703 => Page {
                reason: "Nothing reads the input, rank, constant or value. Drop it, or use it.",
                wrong: "rank p\n\
             in  x[p], V[p] : f32\n\
             out O[p] : f32 = x",
                right: "rank p\n\
             in  x[p] : f32\n\
             out O[p] : f32 = x",
            },
            Code::W0704 => Page {
                reason: "Every point of the read lies outside the tensor, where nothing exists, and no `else` fills \
                    in.",
                wrong: "rank m\n\
             in  K[m] : f32\n\
             out O[m] : f32 = K[m + M]",
                right: "rank m\n\
             in  K[m] : f32\n\
             out O[m] : f32 = K[m + 1] else 0",
            },
        }
    }

    /// The page as text: title, reason, and the two programs.
    pub fn explain(self) -> String {
        let page = self.page();
        let mut text = format!("{self}: {}\n\n{}\n", self.title(), page.reason);
        for (title, program) in [("Wrong", page.wrong), ("Right", page.right)] {
            if !program.is_empty() {
                text.push_str(&format!("\n{title}:\n\n"));
                for line in program.lines() {
                    text.push_str(&format!("    {line}\n"));
                }
            }
        }
        text
    }
}
