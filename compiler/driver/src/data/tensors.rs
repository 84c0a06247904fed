//! Tensor files in the safetensors format.

use einloom_cascade::data::{Tensor, Values};
use einloom_cascade::expr::DType;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// Why a tensor file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    #[error("not a tensor file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    #[error("tensor `{name}` has type {found}; einloom reads f32, f16, bf16, i64, i32, i16, i8, u8 and bool")]
    Type { name: String, found: String },
    #[error("tensor `{0}` is cut short")]
    Short(String),
}

const TYPES: [(DType, Dtype); 9] = [
    (DType::F32, Dtype::F32),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
    (DType::I64, Dtype::I64),
    (DType::I32, Dtype::I32),
    (DType::I16, Dtype::I16),
    (DType::I8, Dtype::I8),
    (DType::U8, Dtype::U8),
    (DType::Bool, Dtype::BOOL),
];

/// Reads all tensors of a file: name to storage type and values.
///
/// # Errors
/// Damaged bytes or unsupported types.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, (DType, Tensor)>, TensorFileError> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let dtype = TYPES.iter().find(|(_, d)| *d == view.dtype()).map(|(d, _)| *d);
        let dtype = dtype.ok_or_else(|| TensorFileError::Type {
            name: name.clone(),
            found: format!("{:?}", view.dtype()),
        })?;
        let values = Values::from_bytes(dtype, view.data()).ok_or_else(|| TensorFileError::Short(name.clone()))?;
        if values.len() != view.shape().iter().product::<usize>() {
            return Err(TensorFileError::Short(name));
        }
        tensors.insert(name, (dtype, Tensor::new(view.shape(), values)));
    }
    Ok(tensors)
}

/// The bytes of a file with these tensors, each already in its storage type.
///
/// # Errors
/// A tensor that the format cannot hold.
pub fn write(tensors: &[(String, DType, Tensor)]) -> Result<Vec<u8>, TensorFileError> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, dtype, t)| t.rounded(*dtype).values.to_bytes())
        .collect();
    let mut views = Vec::new();
    for ((name, dtype, tensor), bytes) in tensors.iter().zip(&bytes) {
        let (_, kind) = TYPES
            .iter()
            .find(|(d, _)| d == dtype)
            .ok_or_else(|| TensorFileError::Type {
                name: name.clone(),
                found: dtype.name().to_owned(),
            })?;
        views.push((name.clone(), TensorView::new(*kind, tensor.shape.clone(), bytes)?));
    }
    Ok(safetensors::serialize(views, None)?)
}
