//! Attention as it stands in the spec, in f64, one point after another.

/// Extents of a call; the batch is 1.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub heads: usize,
    pub groups: usize,
    pub queries: usize,
    pub keys: usize,
    pub width: usize,
}

/// `O[h,p,f]` and `LSE[h,p]` of `Q[h,p,e]`, `K[g,m,e]`, `V[g,m,f]`, row-major.
pub fn attention(shape: Shape, q: &[f64], k: &[f64], v: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let Shape {
        heads,
        groups,
        queries,
        keys,
        width,
    } = shape;
    let (mut o, mut lse) = (Vec::new(), Vec::new());
    for head in 0..heads {
        let group = head / (heads / groups);
        for query in 0..queries {
            let row = &q[(head * queries + query) * width..][..width];
            // m <= p + M - P
            let visible = (query + 1 + keys).saturating_sub(queries).min(keys);
            let score = |key: usize| {
                let column = &k[(group * keys + key) * width..][..width];
                row.iter().zip(column).map(|(a, b)| a * b).sum::<f64>() / (width as f64).sqrt()
            };
            let scores: Vec<f64> = (0..visible).map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
            for f in 0..width {
                let weighted = |(key, s): (usize, &f64)| (s - top).exp() * v[(group * keys + key) * width + f];
                let total: f64 = scores.iter().enumerate().map(weighted).sum();
                o.push(if visible == 0 { 0.0 } else { total / sum });
            }
            lse.push(top + sum.ln());
        }
    }
    (o, lse)
}
