//! Tensors handed to and returned by the evaluator: dense, row-major, in storage or exact form.

use crate::expr::{DType, Kind};
use crate::ops::Scalar;
use crate::round;
use half::{bf16, f16};

/// Elements of a tensor. Reals in `F64` and ints in `I64` may hold values of any storage type of their kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F64(Vec<f64>),
    F32(Vec<f32>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    I16(Vec<i16>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

macro_rules! each {
    ($values:expr, $list:ident => $body:expr) => {
        match $values {
            Values::F64($list) => $body,
            Values::F32($list) => $body,
            Values::F16($list) => $body,
            Values::BF16($list) => $body,
            Values::I64($list) => $body,
            Values::I32($list) => $body,
            Values::I16($list) => $body,
            Values::I8($list) => $body,
            Values::U8($list) => $body,
            Values::Bool($list) => $body,
        }
    };
}

/// A dense tensor, last dimension contiguous.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Values,
}

impl Values {
    /// Number of elements.
    pub fn len(&self) -> usize {
        each!(self, list => list.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Kind of the elements.
    pub fn kind(&self) -> Kind {
        match self {
            Values::F64(_) | Values::F32(_) | Values::F16(_) | Values::BF16(_) => Kind::Real,
            Values::Bool(_) => Kind::Bool,
            _ => Kind::Int,
        }
    }

    /// Element `at`, exactly.
    pub fn get(&self, at: usize) -> Option<Scalar> {
        Some(match self {
            Values::F64(list) => Scalar::Real(*list.get(at)?),
            Values::F32(list) => Scalar::Real(f64::from(*list.get(at)?)),
            Values::F16(list) => Scalar::Real(list.get(at)?.to_f64()),
            Values::BF16(list) => Scalar::Real(list.get(at)?.to_f64()),
            Values::I64(list) => Scalar::Int(*list.get(at)?),
            Values::I32(list) => Scalar::Int(i64::from(*list.get(at)?)),
            Values::I16(list) => Scalar::Int(i64::from(*list.get(at)?)),
            Values::I8(list) => Scalar::Int(i64::from(*list.get(at)?)),
            Values::U8(list) => Scalar::Int(i64::from(*list.get(at)?)),
            Values::Bool(list) => Scalar::Bool(*list.get(at)?),
        })
    }

    /// All elements as f64; ints beyond 2^53 are rounded.
    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.len())
            .map(|at| self.get(at).map_or(0.0, Scalar::as_real))
            .collect()
    }

    /// Reads little-endian elements; `None` if the number of bytes is not a multiple of the element size.
    pub fn from_bytes(dtype: DType, bytes: &[u8]) -> Option<Values> {
        if !bytes.len().is_multiple_of(dtype.size()) {
            return None;
        }
        fn read<T, const N: usize>(bytes: &[u8], f: fn([u8; N]) -> T) -> Vec<T> {
            bytes.as_chunks::<N>().0.iter().map(|chunk| f(*chunk)).collect()
        }
        Some(match dtype {
            DType::F32 => Values::F32(read(bytes, f32::from_le_bytes)),
            DType::F16 => Values::F16(read(bytes, f16::from_le_bytes)),
            DType::BF16 => Values::BF16(read(bytes, bf16::from_le_bytes)),
            DType::I64 => Values::I64(read(bytes, i64::from_le_bytes)),
            DType::I32 => Values::I32(read(bytes, i32::from_le_bytes)),
            DType::I16 => Values::I16(read(bytes, i16::from_le_bytes)),
            DType::I8 => Values::I8(read(bytes, i8::from_le_bytes)),
            DType::U8 => Values::U8(bytes.to_vec()),
            DType::Bool => Values::Bool(bytes.iter().map(|byte| *byte != 0).collect()),
        })
    }

    /// Little-endian bytes of the elements as they are stored here.
    pub fn to_bytes(&self) -> Vec<u8> {
        fn write<T: Copy, const N: usize>(list: &[T], f: fn(T) -> [u8; N]) -> Vec<u8> {
            list.iter().flat_map(|x| f(*x)).collect()
        }
        match self {
            Values::F64(list) => write(list, f64::to_le_bytes),
            Values::F32(list) => write(list, f32::to_le_bytes),
            Values::F16(list) => write(list, f16::to_le_bytes),
            Values::BF16(list) => write(list, bf16::to_le_bytes),
            Values::I64(list) => write(list, i64::to_le_bytes),
            Values::I32(list) => write(list, i32::to_le_bytes),
            Values::I16(list) => write(list, i16::to_le_bytes),
            Values::I8(list) => write(list, i8::to_le_bytes),
            Values::U8(list) => list.clone(),
            Values::Bool(list) => list.iter().map(|x| u8::from(*x)).collect(),
        }
    }

    /// Rounds every element once to a storage type: nearest even, ints saturate, reals overflow to infinity.
    pub fn rounded(&self, dtype: DType) -> Values {
        let all = (0..self.len()).filter_map(|at| self.get(at));
        let int = |x: Scalar| match x {
            Scalar::Int(x) => round::saturate_int(dtype, x),
            x => round::int_from_real(dtype, x.as_real()),
        };
        match dtype {
            DType::F32 => Values::F32(all.map(|x| x.as_real() as f32).collect()),
            DType::F16 => Values::F16(all.map(|x| round::f16_from_f64(x.as_real())).collect()),
            DType::BF16 => Values::BF16(all.map(|x| round::bf16_from_f64(x.as_real())).collect()),
            DType::I64 => Values::I64(all.map(int).collect()),
            DType::I32 => Values::I32(all.map(|x| int(x) as i32).collect()),
            DType::I16 => Values::I16(all.map(|x| int(x) as i16).collect()),
            DType::I8 => Values::I8(all.map(|x| int(x) as i8).collect()),
            DType::U8 => Values::U8(all.map(|x| int(x) as u8).collect()),
            DType::Bool => Values::Bool(all.map(|x| x.as_real() != 0.0).collect()),
        }
    }
}

impl Tensor {
    /// A tensor of reals.
    ///
    /// # Panics
    /// If the number of values is not the product of the shape.
    pub fn reals(shape: &[usize], values: Vec<f64>) -> Tensor {
        Tensor::new(shape, Values::F64(values))
    }

    /// A tensor of ints.
    ///
    /// # Panics
    /// If the number of values is not the product of the shape.
    pub fn ints(shape: &[usize], values: Vec<i64>) -> Tensor {
        Tensor::new(shape, Values::I64(values))
    }

    /// A tensor of any values.
    ///
    /// # Panics
    /// If the number of values is not the product of the shape.
    pub fn new(shape: &[usize], values: Values) -> Tensor {
        let points: usize = shape.iter().product();
        assert_eq!(
            points,
            values.len(),
            "a tensor should hold one value for each point of its shape"
        );
        Tensor {
            shape: shape.to_vec(),
            values,
        }
    }

    /// Every element rounded once to a storage type.
    pub fn rounded(&self, dtype: DType) -> Tensor {
        Tensor {
            shape: self.shape.clone(),
            values: self.values.rounded(dtype),
        }
    }

    /// All elements as f64, row-major.
    pub fn to_f64(&self) -> Vec<f64> {
        self.values.to_f64()
    }
}

/// Arguments of a cascade, in the order of `Cascade::inputs` and `Cascade::scalars`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    pub tensors: Vec<Tensor>,
    /// `None` takes the default of an optional scalar. May be shorter than the list of scalars.
    pub scalars: Vec<Option<Scalar>>,
}

impl Inputs {
    /// Tensors, and scalars that all have a value.
    pub fn new(tensors: Vec<Tensor>, scalars: Vec<Scalar>) -> Inputs {
        Inputs {
            tensors,
            scalars: scalars.into_iter().map(Some).collect(),
        }
    }

    /// Extents of every tensor, for [`bind`](crate::bind::bind).
    pub fn shapes(&self) -> Vec<Vec<i64>> {
        let extent = |&n: &usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.tensors
            .iter()
            .map(|tensor| tensor.shape.iter().map(extent).collect())
            .collect()
    }
}
