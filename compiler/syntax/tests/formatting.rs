//! What the formatter does with white space, comments and long lines.

use einloom_syntax::{SourceId, format, format_text, parse};

/// `source` formats to `expected`, and `expected` to itself.
fn check(source: &str, expected: &str) {
    assert_eq!(format_text(source).as_deref(), Some(expected));
    assert_eq!(format_text(expected).as_deref(), Some(expected));
}

#[test]
fn spaces_are_canonical() {
    check(
        "in Q [ b , h ]:f32   x=a*( b+c )^-2",
        "in  Q[b,h] : f32\nx = a * (b + c)^-2\n",
    );
    check("out O[n=to[b,p],f]:bf16=x", "out O[n = to[b,p], f] : bf16 = x\n");
    check("y=x[ m:=m+1,e := 0 ]", "y = x[m := m + 1, e := 0]\n");
    check("z = sum[ m , n ](x)+max(a,b)", "z = sum[m,n](x) + max(a, b)\n");
    check(
        "in x[]:f32 in tau:f32=1 in b[h,2*W-1]:T",
        "in  x[] : f32\nin  tau : f32 = 1\nin  b[h, 2 * W - 1] : T\n",
    );
    check(
        "rank h=(g,r),e=64|128,t=( b,p )by cu",
        "rank h = (g, r), e = 64 | 128, t = (b, p) by cu\n",
    );
    check(
        "policy error(O,P)=2 import\"a.ein\" assume not a",
        "policy error(O, P) = 2\nimport \"a.ein\"\nassume not a\n",
    );
    check("x = not - 1 < 2 mod 3", "x = not -1 < 2 mod 3\n");
}

#[test]
fn blocks_are_indented() {
    check(
        "def f[m](x,y){rank n=M // local\n// own\n z=x[m:=n]\n\n\n return z*y}   // behind\nw=f[m](a,b)",
        "def f[m](x, y) {\n    rank n = M    // local\n    // own\n    z = x[m := n]\n\n    return z * y\n\
         }    // behind\nw = f[m](a, b)\n",
    );
    check(
        "def f() { // first\n return 1 // last
 // end
 }",
        "def f() {\n    // first\n    return 1    // last\n    // end\n}\n",
    );
    check(
        "def f(x) { // to return\n return x }",
        "def f(x) {\n    // to return\n    return x\n}\n",
    );
}

#[test]
fn comments_and_blank_lines_stay() {
    check(
        "\n\n// one\n\n\n\n// two\nx = 1 // three   \n\n\n// four\n\n",
        "// one\n\n// two\nx = 1    // three\n\n// four\n",
    );
    check(
        "x = a // inside\n + b // behind\ny = 1",
        "// inside\nx = a + b    // behind\ny = 1\n",
    );
    check(
        "a = 1\n\nx = f(a, // one\n b) // two\n",
        "a = 1\n\n// one\nx = f(a, b)    // two\n",
    );
    check("", "");
    check("  \n\n", "");
    check("// only", "// only\n");
}

#[test]
fn a_comment_that_does_not_fit_behind_moves_in_front() {
    let statement = format!("x = {}", ["abcdefgh"; 8].join(" * "));
    let comment = "// a remark of some length";
    check(
        &format!("y = 1\n{statement} {comment}\n"),
        &format!("y = 1\n{comment}\n{statement}\n"),
    );
}

#[test]
fn long_lines_break_at_the_best_place() {
    let (sum, factor) = (["aaaaaaaa"; 7].join(" + "), ["bbbbbbbb"; 4].join(" * "));
    check(
        &format!("x = {sum} where {factor} < 1"),
        &format!("x = {sum}\n        where {factor} < 1\n"),
    );
    check(
        &format!("rec x[t] = {sum} from {factor}"),
        &format!("rec x[t] = {sum}\n        from {factor}\n"),
    );
    check(
        &format!("x = {sum} else {factor} where c"),
        &format!("x = {sum}\n        else {factor} where c\n"),
    );
    check(
        &format!("x = {factor} * f({sum})"),
        &format!("x = {factor}\n        * f({sum})\n"),
    );
    check(
        &format!("x = {sum} + {sum}"),
        &format!(
            "x = {} + aaaaaaaa\n        + {}\n",
            ["aaaaaaaa"; 8].join(" + "),
            ["aaaaaaaa"; 5].join(" + ")
        ),
    );
    let names: Vec<String> = (0..30).map(|number| format!("name{number}")).collect();
    let broken = format_text(&format!("rank {}", names.join(","))).expect("the statement parses");
    assert!(
        broken.lines().count() == 3 && broken.lines().all(|line| line.len() <= 100),
        "{broken}"
    );
    assert!(
        broken.lines().skip(1).all(|line| line.starts_with("        name")),
        "{broken}"
    );
}

#[test]
fn regions_with_errors_are_copied() {
    let source = "x=1\ny = (2 +   * 3 // why\n   4\nz=3\n";
    let (file, diagnostics) = parse(SourceId(0), source);
    assert_eq!(diagnostics.len(), 1);
    assert_eq!(format(&file, source), "x = 1\ny = (2 +   * 3 // why\n   4\nz = 3\n");
    assert_eq!(format_text(source), None);
}
