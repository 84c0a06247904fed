//! Typed tensors of a call: address, shape and strides by value, so that making one allocates nothing.

use std::marker::PhantomData;

use einloom_artifact::{DType, ScalarArg, TensorView};

use crate::buffer::DeviceBuffer;
use crate::device::Device;

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that is the type of tensor elements.
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    /// Its name in the language.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($type:ty = $dtype:ident),* $(,)?) => {$(
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
        }
    )*};
}

elements!(
    f64 = F64,
    f32 = F32,
    half::f16 = F16,
    half::bf16 = BF16,
    i64 = I64,
    i32 = I32,
    i16 = I16,
    i8 = I8,
    u32 = U32,
    u8 = U8,
    bool = Bool,
);

/// A tensor of `N` dimensions in device memory. Nothing is checked before the launch, which checks everything.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a, T, const N: usize> {
    address: u64,
    len_elements: u64,
    shape: [u64; N],
    strides: [i64; N],
    device: Option<&'a Device>,
    element: PhantomData<&'a [T]>,
}

impl<'a, T: Element, const N: usize> Tensor<'a, T, N> {
    /// A dense row-major tensor at the start of a buffer.
    pub fn dense(buffer: &'a DeviceBuffer, shape: [u64; N]) -> Self {
        Tensor::strided(buffer, 0, shape, dense_strides(shape))
    }

    /// A tensor whose first element is `offset` elements into a buffer; strides are in elements.
    pub fn strided(buffer: &'a DeviceBuffer, offset: u64, shape: [u64; N], strides: [i64; N]) -> Self {
        let (size, len) = (T::DTYPE.size(), buffer.len() / T::DTYPE.size());
        // An offset past the end leaves no elements, which the launch check refuses in words.
        let offset = offset.min(len);
        Tensor {
            address: buffer.address() + offset * size,
            len_elements: len - offset,
            shape,
            strides,
            device: Some(buffer.device()),
            element: PhantomData,
        }
    }

    /// A dense row-major tensor in memory of another library.
    ///
    /// # Safety
    /// As for [`Tensor::strided_raw`], with as many elements as the shape has.
    pub unsafe fn dense_raw(address: u64, shape: [u64; N]) -> Self {
        let len = shape.iter().fold(1u64, |n, extent| n.saturating_mul(*extent));
        // SAFETY: the caller's promise.
        unsafe { Tensor::strided_raw(address, len, shape, dense_strides(shape)) }
    }

    /// A tensor in memory of another library; strides are in elements.
    ///
    /// # Safety
    /// `address` must start `len_elements` elements of memory on the device that the tensor is used on, valid until all
    /// work that was queued with it is done.
    pub unsafe fn strided_raw(address: u64, len_elements: u64, shape: [u64; N], strides: [i64; N]) -> Self {
        Tensor {
            address,
            len_elements,
            shape,
            strides,
            device: None,
            element: PhantomData,
        }
    }

    /// Its extents, outermost first.
    pub fn shape(&self) -> [u64; N] {
        self.shape
    }

    /// The tensor as the one that the cascade calls `name`.
    pub fn named<'s>(&'s self, name: &'s str) -> NamedTensor<'s> {
        NamedTensor {
            view: TensorView {
                name,
                dtype: T::DTYPE,
                shape: &self.shape,
                strides: &self.strides,
                address: self.address,
                len_elements: self.len_elements,
            },
            device: self.device,
        }
    }
}

fn dense_strides<const N: usize>(shape: [u64; N]) -> [i64; N] {
    let mut strides = [0; N];
    let mut next = 1i64;
    for (stride, extent) in strides.iter_mut().zip(shape).rev() {
        *stride = next;
        // A product past 63 bits is a tensor that no buffer holds: the launch check says so.
        next = next.saturating_mul(i64::try_from(extent.max(1)).unwrap_or(i64::MAX));
    }
    strides
}

/// A tensor without its Rust type.
#[derive(Clone, Debug)]
pub struct NamedTensor<'a> {
    view: TensorView<'a>,
    device: Option<&'a Device>,
}

impl<'a> NamedTensor<'a> {
    /// A tensor that is described at run time, for callers in other languages.
    ///
    /// # Safety
    /// As for [`Tensor::strided_raw`].
    pub unsafe fn from_view(view: TensorView<'a>) -> NamedTensor<'a> {
        NamedTensor { view, device: None }
    }
}

/// The tensors and scalars of one call, by name.
#[derive(Clone, Debug)]
pub struct Call<'a, const T: usize, const S: usize> {
    views: [TensorView<'a>; T],
    devices: [Option<&'a Device>; T],
    scalars: [ScalarArg<'a>; S],
}

impl<'a, const T: usize, const S: usize> Call<'a, T, S> {
    /// In the order of the manifest, which is that of the spec, the search for names is shortest.
    pub fn new(tensors: [NamedTensor<'a>; T], scalars: [ScalarArg<'a>; S]) -> Self {
        let devices = tensors.each_ref().map(|tensor| tensor.device);
        Call {
            views: tensors.map(|tensor| tensor.view),
            devices,
            scalars,
        }
    }
}

/// As [`Call`], where the number of tensors is known at run time only.
#[derive(Clone, Debug)]
pub struct CallBuf<'a> {
    views: Vec<TensorView<'a>>,
    devices: Vec<Option<&'a Device>>,
    scalars: Vec<ScalarArg<'a>>,
}

impl<'a> CallBuf<'a> {
    /// In any order.
    pub fn new(tensors: Vec<NamedTensor<'a>>, scalars: Vec<ScalarArg<'a>>) -> CallBuf<'a> {
        CallBuf {
            devices: tensors.iter().map(|tensor| tensor.device).collect(),
            views: tensors.into_iter().map(|tensor| tensor.view).collect(),
            scalars,
        }
    }
}

/// A [`Call`] or a [`CallBuf`], whose tensors live for `'a`.
pub trait AsCall<'a>: sealed::Sealed {
    /// What the launcher checks.
    #[doc(hidden)]
    fn parts(&self) -> Parts<'_>;
}

impl<const T: usize, const S: usize> sealed::Sealed for Call<'_, T, S> {}
impl<'a, const T: usize, const S: usize> AsCall<'a> for Call<'a, T, S> {
    fn parts(&self) -> Parts<'_> {
        Parts {
            views: &self.views,
            devices: &self.devices,
            scalars: &self.scalars,
        }
    }
}

impl sealed::Sealed for CallBuf<'_> {}
impl<'a> AsCall<'a> for CallBuf<'a> {
    fn parts(&self) -> Parts<'_> {
        Parts {
            views: &self.views,
            devices: &self.devices,
            scalars: &self.scalars,
        }
    }
}

/// The parts of a call of any size.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    pub(crate) views: &'a [TensorView<'a>],
    pub(crate) devices: &'a [Option<&'a Device>],
    pub(crate) scalars: &'a [ScalarArg<'a>],
}

/// Memory for the intermediate results of a call; see [`crate::Launcher::workspace_bytes`].
#[derive(Clone, Copy, Debug)]
pub struct Workspace<'a> {
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) device: Option<&'a Device>,
}

impl<'a> Workspace<'a> {
    /// For calls that need none.
    pub const NONE: Workspace<'static> = Workspace {
        address: 0,
        bytes: 0,
        device: None,
    };

    /// A whole buffer. Calls on different streams must not share one.
    pub fn new(buffer: &'a DeviceBuffer) -> Workspace<'a> {
        Workspace {
            address: buffer.address(),
            bytes: buffer.len(),
            device: Some(buffer.device()),
        }
    }

    /// Memory of another library.
    ///
    /// # Safety
    /// `address` must start `bytes` bytes of memory on the device that it is used on, which nothing else uses until all
    /// work that was queued with it is done.
    pub unsafe fn from_raw(address: u64, bytes: u64) -> Workspace<'a> {
        Workspace {
            address,
            bytes,
            device: None,
        }
    }
}
