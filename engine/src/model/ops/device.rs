//! The operations on a device of its own memory: written once over what such a device can do, and done by a GPU, or in tests by
//! the processor with the same kernels.
//!
//! ```text
//! sums      products over all samples, in parts that are summed in a fixed order
//! layers, head, input, prior, convolution   an operation each
//! optimizer Adam and running averages of many tensors in one launch
//! card      a CUDA device: candle's memory, cuBLAS's products, the kernels as PTX      (feature `train-cuda`)
//! kernels   training.cu; training.ptx, which is made of it; emulator.cpp
//! ```
//!
//! Products are the device's own; all that is done to each value is a kernel's, fused as far as it goes. No value is ever the
//! sum of what raced to it, so the same step on the same device gives the same bits.

#[cfg(feature = "train-cuda")]
pub(super) mod card;
pub(super) mod convolution;
#[cfg(test)]
mod emulator;
pub(super) mod head;
pub(super) mod input;
pub(super) mod layers;
pub(crate) mod optimizer;
pub(super) mod prior;
mod sums;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;

use candle_core::Result;

use super::matrix::Put;

/// A device. What it is asked for takes effect in the order in which it was asked.
pub(crate) trait Machine {
    /// Memory of values of 32 bits that goes back when it is dropped.
    type Memory;

    /// So many values, of whatever content.
    fn allocate(&self, values: usize) -> Result<Self::Memory>;

    /// Values of the host.
    fn upload(&self, values: &[f32]) -> Result<Self::Memory>;

    /// The same of bytes, the last value's bytes filled up.
    fn upload_bytes(&self, bytes: &[u8]) -> Result<Self::Memory> {
        let word = |bytes: &[u8]| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            f32::from_bits(u32::from_ne_bytes(word))
        };
        self.upload(&bytes.chunks(4).map(word).collect::<Vec<_>>())
    }

    /// All of the memory's values.
    fn span<'a>(&self, memory: &'a Self::Memory) -> Span<'a>;

    /// Values for the host, once all that was asked for is done.
    fn download(&self, values: Span<'_>) -> Result<Vec<f32>>;

    /// `count` products `target (rows, columns) = or += left (rows, depth) right (depth, columns)`, whose sizes are not zero.
    ///
    /// # Safety
    /// Every entry of all matrices lies in its span.
    unsafe fn multiply_unchecked(&self, product: &Product<'_>) -> Result<()>;

    /// Runs a kernel with about so many threads.
    ///
    /// # Safety
    /// The arguments have the kernel's types and order, and arrays are as long as it reaches.
    unsafe fn launch_unchecked(
        &self,
        kernel: &'static str,
        threads: usize,
        arguments: &[Argument<'_>],
    ) -> Result<()>;

    /// `count` products `target (rows, columns) = or += left (rows, depth) right (depth, columns)`.
    ///
    /// # Panics
    /// If a matrix does not lie in its span.
    fn multiply_all(
        &self,
        count: usize,
        (rows, depth, columns): (usize, usize, usize),
        target: Matrices<'_>,
        put: Put,
        left: Matrices<'_>,
        right: Matrices<'_>,
    ) -> Result<()> {
        if count == 0 || rows == 0 || columns == 0 || depth == 0 {
            // No operation here has an empty sum that must be written.
            return Ok(());
        }
        assert!(target.column == 1, "the target's rows are contiguous");
        assert!(target.end(count, rows, columns) <= target.span.values, "target too short");
        assert!(left.end(count, rows, depth) <= left.span.values, "left too short");
        assert!(right.end(count, depth, columns) <= right.span.values, "right too short");
        // SAFETY: as just asked.
        unsafe { self.multiply_unchecked(&Product { count, rows, depth, columns, put, target, left, right }) }
    }

    /// One product.
    fn multiply(
        &self,
        shape: (usize, usize, usize),
        target: Matrices<'_>,
        put: Put,
        left: Matrices<'_>,
        right: Matrices<'_>,
    ) -> Result<()> {
        self.multiply_all(1, shape, target, put, left, right)
    }

    /// Runs a kernel for so many items of one thread each. Its arguments must be what it takes.
    ///
    /// # Panics
    /// If an array is shorter than the kernel reaches.
    fn launch(&self, kernel: &'static str, items: usize, arguments: &[Argument<'_>]) -> Result<()> {
        for argument in arguments {
            if let Argument::Array(span, reached) = argument {
                assert!(*reached <= span.values, "{kernel}: an array is too short");
                if *reached >= MOST_VALUES {
                    candle_core::bail!(
                        "{kernel}: {reached} values are more than it counts; take fewer segments at a time"
                    )
                }
            }
        }
        if items == 0 {
            return Ok(());
        }
        // SAFETY: the arrays are as long as the kernel reaches, as just asked; that the types are right is what the tests see,
        // whose machine knows each kernel's.
        unsafe { self.launch_unchecked(kernel, items, arguments) }
    }

    /// [`Machine::launch`] for items of one warp each.
    fn launch_warps(&self, kernel: &'static str, items: usize, arguments: &[Argument<'_>]) -> Result<()> {
        self.launch(kernel, 32 * items, arguments)
    }
}

/// Values in a device's memory, which stay there for `'a`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    address: u64,
    values: usize,
    memory: PhantomData<&'a ()>,
}

impl<'a> Span<'a> {
    /// # Safety
    /// So many values lie at this address of the device for `'a`.
    pub(crate) unsafe fn new(address: u64, values: usize) -> Self {
        Self { address, values, memory: PhantomData }
    }

    /// All behind the first so many.
    ///
    /// # Panics
    /// If there are not so many.
    pub(super) fn from(self, first: usize) -> Self {
        assert!(first <= self.values, "values of device memory");
        Self { address: self.address + 4 * first as u64, values: self.values - first, memory: PhantomData }
    }

    /// Where they are on the device, and how many.
    #[cfg(feature = "train-cuda")]
    pub(crate) fn raw(self) -> (u64, usize) {
        (self.address, self.values)
    }

    /// How many there are.
    pub(super) fn values(self) -> usize {
        self.values
    }
}

/// Entry `(i, j)` of matrix `n` is value `n * matrix + i * row + j * column` of the span; `row` or `column` is 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrices<'a> {
    span: Span<'a>,
    row: usize,
    column: usize,
    matrix: usize,
}

impl<'a> Matrices<'a> {
    /// A matrix whose rows are contiguous and `row` apart.
    pub(super) fn rows(span: Span<'a>, row: usize) -> Self {
        Self { span, row, column: 1, matrix: 0 }
    }

    /// The same values with rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// One for each product, so far apart.
    pub(super) fn apart(self, matrix: usize) -> Self {
        Self { matrix, ..self }
    }

    fn end(self, count: usize, rows: usize, columns: usize) -> usize {
        (count - 1) * self.matrix + (rows - 1) * self.row + (columns - 1) * self.column + 1
    }
}

/// See [`Machine::multiply_unchecked`].
pub(crate) struct Product<'a> {
    count: usize,
    rows: usize,
    depth: usize,
    columns: usize,
    put: Put,
    /// Its rows are contiguous.
    target: Matrices<'a>,
    left: Matrices<'a>,
    right: Matrices<'a>,
}

/// What a kernel is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument<'a> {
    /// An array, and how much of it the kernel reaches.
    Array(Span<'a>, usize),
    Number(u32),
    Real(f32),
}

impl Argument<'_> {
    /// An array that the kernel was told not to look at.
    pub(super) const NOTHING: Self = Self::Array(Span { address: 0, values: 0, memory: PhantomData }, 0);
}

/// Most values of an array: kernels count with 32 bits, and add a grid's threads to that.
const MOST_VALUES: usize = 1 << 31;

/// A number as kernels count. What it belongs to is bounded by [`MOST_VALUES`].
pub(super) fn number(value: usize) -> Argument<'static> {
    Argument::Number(value as u32)
}
