//! The machine that formulas are written for: IEEE f32 and f64 with every operation rounded once, and the bits of an f32.

/// Arithmetic on values of one kind: numbers, or SSA values that stand for them.
pub(super) trait Arith {
    /// f32
    type F: Copy;
    /// f64
    type D: Copy;
    /// i32
    type I: Copy;
    /// bool
    type B: Copy;

    fn num(&self, x: f32) -> Self::F;
    fn add(&self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(&self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(&self, a: Self::F, b: Self::F) -> Self::F;
    fn div(&self, a: Self::F, b: Self::F) -> Self::F;
    fn fma(&self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    fn sqrt(&self, a: Self::F) -> Self::F;
    fn abs(&self, a: Self::F) -> Self::F;
    fn neg(&self, a: Self::F) -> Self::F;
    /// NaN if one is.
    fn max(&self, a: Self::F, b: Self::F) -> Self::F;
    /// NaN if one is.
    fn min(&self, a: Self::F, b: Self::F) -> Self::F;
    /// False if one is NaN.
    fn lt(&self, a: Self::F, b: Self::F) -> Self::B;
    fn eq(&self, a: Self::F, b: Self::F) -> Self::B;
    fn select(&self, c: Self::B, yes: Self::F, no: Self::F) -> Self::F;
    fn and(&self, a: Self::B, b: Self::B) -> Self::B;

    fn int(&self, n: i32) -> Self::I;
    fn bits(&self, a: Self::F) -> Self::I;
    fn from_bits(&self, a: Self::I) -> Self::F;
    /// Of an int of small magnitude.
    fn real(&self, a: Self::I) -> Self::F;
    fn iadd(&self, a: Self::I, b: Self::I) -> Self::I;
    fn isub(&self, a: Self::I, b: Self::I) -> Self::I;
    fn iand(&self, a: Self::I, b: Self::I) -> Self::I;
    fn ior(&self, a: Self::I, b: Self::I) -> Self::I;
    fn ixor(&self, a: Self::I, b: Self::I) -> Self::I;
    fn shl(&self, a: Self::I, by: u32) -> Self::I;
    /// Arithmetic.
    fn shr(&self, a: Self::I, by: u32) -> Self::I;
    fn ine(&self, a: Self::I, b: Self::I) -> Self::B;
    fn ilt(&self, a: Self::I, b: Self::I) -> Self::B;
    fn iselect(&self, c: Self::B, yes: Self::I, no: Self::I) -> Self::I;

    fn wide(&self, x: f64) -> Self::D;
    fn widen(&self, a: Self::F) -> Self::D;
    fn narrow(&self, a: Self::D) -> Self::F;
    fn dadd(&self, a: Self::D, b: Self::D) -> Self::D;
    fn dsub(&self, a: Self::D, b: Self::D) -> Self::D;
    fn dmul(&self, a: Self::D, b: Self::D) -> Self::D;
    fn ddiv(&self, a: Self::D, b: Self::D) -> Self::D;
    fn dfma(&self, a: Self::D, b: Self::D, c: Self::D) -> Self::D;
    fn dselect(&self, c: Self::B, yes: Self::D, no: Self::D) -> Self::D;
    /// Of a small int.
    fn dreal(&self, a: Self::I) -> Self::D;
    /// Low word of the bits.
    fn low_bits(&self, a: Self::D) -> Self::I;

    /// `c[0] + c[1] x + ..`, by Horner's rule with fused steps.
    fn poly(&self, x: Self::F, c: &[f32]) -> Self::F {
        let (last, rest) = c.split_last().expect("a polynomial should have a coefficient");
        rest.iter()
            .rev()
            .fold(self.num(*last), |res, &c| self.fma(res, x, self.num(c)))
    }

    /// As `poly`, in f64.
    fn dpoly(&self, x: Self::D, c: &[f64]) -> Self::D {
        let (last, rest) = c.split_last().expect("a polynomial should have a coefficient");
        rest.iter()
            .rev()
            .fold(self.wide(*last), |res, &c| self.dfma(res, x, self.wide(c)))
    }
}
