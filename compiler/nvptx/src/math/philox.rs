//! The counter-based random function of the language, as `einloom_cascade::philox` defines it: Philox 4x32-10 of Salmon et al.,
//! "Parallel random numbers: as easy as 1, 2, 3", 2011.

use crate::cx::V;
use crate::error::{Res, invalid};
use crate::kernel::Kernel;
use inkwell::values::IntValue;

impl<'c> Kernel<'_, 'c> {
    /// `uniform(seed, i, j, ..)`: the top 24 bits of the first word, times 2^-24.
    pub(crate) fn uniform(&self, args: &[IntValue<'c>]) -> Res<V<'c>> {
        let cx = &self.cx;
        let Some((&seed, counters)) = args.split_first().filter(|(_, rest)| rest.len() < 5) else {
            return invalid("uniform takes a seed and up to four counters");
        };
        let word = |v: IntValue<'c>| cx.resize(v, cx.i32t());
        let wide = cx.resize(seed, cx.i64t());
        let mut key = [word(seed), word(cx.lshr(wide, cx.i64(32)))];
        let mut counter = [cx.i32(0); 4];
        for (slot, &value) in counter.iter_mut().zip(counters) {
            *slot = word(value);
        }
        for _ in 0..10 {
            let even = self.product(counter[0], 0xD251_1F53);
            let odd = self.product(counter[2], 0xCD9E_8D57);
            counter = [
                cx.ixor(cx.ixor(odd[1], counter[1]), key[0]),
                odd[0],
                cx.ixor(cx.ixor(even[1], counter[3]), key[1]),
                even[0],
            ];
            key = [
                cx.iadd(key[0], cx.i32(0x9E37_79B9)),
                cx.iadd(key[1], cx.i32(0xBB67_AE85)),
            ];
        }
        let top = cx.lshr(counter[0], cx.i32(8));
        Ok(cx.fmul(cx.to_real(top, cx.f32t()), cx.f32(1.0 / 16_777_216.0)).into())
    }

    /// Low and high word of an unsigned product.
    fn product(&self, a: IntValue<'c>, b: i64) -> [IntValue<'c>; 2] {
        let cx = &self.cx;
        let wide = cx.imul(cx.zext(a, cx.i64t()), cx.i64(b));
        [
            cx.resize(wide, cx.i32t()),
            cx.resize(cx.lshr(wide, cx.i64(32)), cx.i32t()),
        ]
    }
}
