//! Strided matrix products on one thread.

use gemm::Parallelism;

use super::real::Real;

/// Values seen as a matrix: entry `(i, j)` is `values[i * row + j * column]`.
#[derive(Clone, Copy)]
pub(super) struct View<'a, T> {
    values: &'a [T],
    row: usize,
    column: usize,
}

impl<'a, T> View<'a, T> {
    /// A matrix of any strides; entries may overlap.
    pub(super) fn strided(values: &'a [T], row: usize, column: usize) -> Self {
        Self { values, row, column }
    }

    /// A matrix whose rows are contiguous and `row` apart.
    pub(super) fn rows(values: &'a [T], row: usize) -> Self {
        Self { values, row, column: 1 }
    }

    /// The same values with rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self { values: self.values, row: self.column, column: self.row }
    }
}

/// A [`View`] to write to; its entries must not overlap.
pub(super) struct ViewMut<'a, T> {
    values: &'a mut [T],
    row: usize,
    column: usize,
}

impl<'a, T> ViewMut<'a, T> {
    /// A matrix of any strides that keep its entries apart.
    pub(super) fn strided(values: &'a mut [T], row: usize, column: usize) -> Self {
        Self { values, row, column }
    }

    /// A matrix whose rows are contiguous and `row` apart.
    pub(super) fn rows(values: &'a mut [T], row: usize) -> Self {
        Self { values, row, column: 1 }
    }
}

/// What becomes of the destination's old values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// They are overwritten.
    Set,
    /// The product is added to them.
    Add,
}

/// `target (rows, columns) = or += left (rows, depth) right (depth, columns)`.
pub(super) fn multiply<T: Real>(
    (rows, depth, columns): (usize, usize, usize),
    target: ViewMut<'_, T>,
    put: Put,
    left: View<'_, T>,
    right: View<'_, T>,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    let last = |row: usize, column: usize, rows: usize, columns: usize| {
        rows.saturating_sub(1) * row + columns.saturating_sub(1) * column
    };
    assert!(last(target.row, target.column, rows, columns) < target.values.len(), "target too short");
    assert!(
        columns == 1
            || rows == 1
            || target.row > (columns - 1) * target.column
            || target.column > (rows - 1) * target.row,
        "target entries overlap"
    );
    assert!((columns == 1 || target.column > 0) && (rows == 1 || target.row > 0), "target entries overlap");
    assert!(depth == 0 || last(left.row, left.column, rows, depth) < left.values.len(), "left too short");
    assert!(
        depth == 0 || last(right.row, right.column, depth, columns) < right.values.len(),
        "right too short"
    );
    // SAFETY: the assertions above keep every entry of the three matrices inside its slice and the entries of the
    // target apart; the target is borrowed exclusively, so that it cannot overlap the sources.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            target.values.as_mut_ptr(),
            target.column as isize,
            target.row as isize,
            put == Put::Add,
            left.values.as_ptr(),
            left.column as isize,
            left.row as isize,
            right.values.as_ptr(),
            right.column as isize,
            right.row as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
