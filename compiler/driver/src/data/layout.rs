//! How tensors lie in memory: dense, or with the strides that callers have who hand over views.
//!
//! The innermost dimension stays contiguous, as the launch contract asks. Gaps belong to nobody: a run must neither read nor
//! write them.

use einloom_cascade::expr::DType;

/// Arrangement of all tensors of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Layout {
    /// Row-major, without gaps
    #[default]
    Dense,
    /// 16 bytes more between neighbours of every outer dimension
    Padded,
    /// The two dimensions before the last exchanged: an input `x[b,h,p,e]` lies in memory as b, p, h, e
    Permuted,
    /// Bases and outer strides of odd numbers of elements: the least alignment that there is
    Unaligned,
    /// The longest outer dimension stretched, so that a tensor spans more than 2^31 elements; on a GPU only
    Huge,
}

/// Elements that the stretched dimension of a huge tensor spans at least.
const HUGE: i64 = (1 << 31) + 64;

/// Where the elements of one tensor lie, in elements from the start of its buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
    /// Position of the first element.
    pub offset: i64,
}

impl Layout {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Dense => "dense",
            Layout::Padded => "padded",
            Layout::Permuted => "permuted",
            Layout::Unaligned => "unaligned",
            Layout::Huge => "huge",
        }
    }

    /// Places a tensor.
    pub fn place(self, dtype: DType, shape: &[i64]) -> Placement {
        let n = shape.len();
        // Dimensions from the innermost out, and the gap behind each outer one.
        let mut order: Vec<usize> = (0..n).rev().collect();
        let gap = match self {
            Layout::Padded => 16 / dtype.size() as i64,
            Layout::Unaligned => 1,
            _ => 0,
        };
        let longest = (0..n.saturating_sub(1)).rev().max_by_key(|d| shape[*d]);
        match (self, longest) {
            (Layout::Permuted, _) if n > 2 => order.swap(1, 2),
            (Layout::Huge, Some(longest)) => {
                order.retain(|d| *d != longest);
                order.push(longest);
            }
            _ => {}
        }
        let mut strides = vec![1; n];
        let mut next = 1;
        for (level, d) in order.iter().enumerate() {
            if level > 0 {
                next += gap;
            }
            if self == Layout::Huge && Some(*d) == longest && shape[*d] > 1 {
                let reach = HUGE / (shape[*d] - 1) + 1;
                next = next.max((reach + 15) / 16 * 16);
            }
            strides[*d] = next;
            next *= shape[*d].max(1);
        }
        let offset = i64::from(self == Layout::Unaligned);
        Placement {
            shape: shape.to_vec(),
            strides,
            offset,
        }
    }
}

impl Placement {
    /// Elements from the start of the buffer to the end of the last element; to the base where there is none.
    pub fn span(&self) -> i64 {
        if self.shape.contains(&0) {
            return self.offset;
        }
        let reach: i64 = self.shape.iter().zip(&self.strides).map(|(n, s)| (n - 1) * s).sum();
        self.offset + reach + 1
    }

    /// Whether the buffer is the elements in row-major order, without gaps.
    pub fn is_dense(&self) -> bool {
        let dense = Layout::Dense.place(DType::U8, &self.shape);
        self.strides == dense.strides && self.offset == 0
    }

    /// Bytes that divide the base and every outer stride, at most 16.
    pub fn align(&self, dtype: DType) -> u32 {
        let size = dtype.size() as i64;
        let outer = self.shape.iter().zip(&self.strides).rev().skip(1);
        let strides = outer.filter(|(n, _)| **n > 1).map(|(_, s)| *s);
        let divides = |a: &i64| (self.offset * size) % a == 0 && strides.clone().all(|s| (s * size) % a == 0);
        [16, 8, 4, 2, 1].into_iter().find(divides).unwrap_or(1) as u32
    }

    /// Elements of a contiguous row: the innermost extent.
    pub fn width(&self) -> usize {
        self.shape.last().map_or(1, |n| (*n).max(0) as usize)
    }

    /// Positions of the first elements of all rows, in row-major order.
    pub fn rows(&self) -> impl Iterator<Item = i64> + '_ {
        let outer = self.shape.len().saturating_sub(1);
        let count: i64 = if self.shape.contains(&0) {
            0
        } else {
            self.shape[..outer].iter().product()
        };
        (0..count).map(move |row| {
            let mut rest = row;
            let mut at = self.offset;
            for d in (0..outer).rev() {
                at += rest % self.shape[d] * self.strides[d];
                rest /= self.shape[d];
            }
            at
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{HUGE, Layout};
    use einloom_cascade::expr::DType;

    const SHAPE: [i64; 4] = [2, 3, 5, 64];

    #[test]
    fn strides_are_those_of_the_layout() {
        let strides = |layout: Layout| layout.place(DType::BF16, &SHAPE).strides;
        assert_eq!(strides(Layout::Dense), [960, 320, 64, 1]);
        assert_eq!(strides(Layout::Padded), [3 * (5 * 72 + 8) + 8, 5 * 72 + 8, 72, 1]);
        assert_eq!(strides(Layout::Permuted), [960, 64, 192, 1]);
        assert_eq!(strides(Layout::Unaligned), [3 * (5 * 65 + 1) + 1, 5 * 65 + 1, 65, 1]);
        assert_eq!(Layout::Huge.place(DType::BF16, &SHAPE).strides[..2], [192, 64]);
        for layout in [
            Layout::Dense,
            Layout::Padded,
            Layout::Permuted,
            Layout::Unaligned,
            Layout::Huge,
        ] {
            assert_eq!(
                layout.place(DType::BF16, &SHAPE).is_dense(),
                layout == Layout::Dense,
                "{layout:?}"
            );
        }
    }

    #[test]
    fn no_two_elements_share_a_place_and_all_are_inside() {
        for layout in [Layout::Dense, Layout::Padded, Layout::Permuted, Layout::Unaligned] {
            for shape in [&SHAPE[..], &[7, 1, 3], &[5, 4], &[6], &[], &[2, 0, 3]] {
                let place = layout.place(DType::F32, shape);
                let mut seen = vec![false; place.span() as usize];
                for row in place.rows() {
                    for at in row as usize..row as usize + place.width() {
                        assert!(!std::mem::replace(&mut seen[at], true), "{layout:?} {shape:?}");
                    }
                }
                let filled = seen.iter().filter(|one| **one).count() as i64;
                assert_eq!(filled, shape.iter().product::<i64>(), "{layout:?} {shape:?}");
                assert!(place.offset <= place.span(), "{layout:?} {shape:?}");
            }
        }
    }

    #[test]
    fn alignment_is_that_of_strides_and_base() {
        let align = |layout: Layout, dtype| layout.place(dtype, &SHAPE).align(dtype);
        assert_eq!(align(Layout::Padded, DType::BF16), 16);
        assert_eq!(align(Layout::Huge, DType::BF16), 16);
        assert_eq!(align(Layout::Unaligned, DType::BF16), 2);
        assert_eq!(align(Layout::Unaligned, DType::F32), 4);
        assert!(Layout::Huge.place(DType::F32, &SHAPE).span() > HUGE);
    }
}
