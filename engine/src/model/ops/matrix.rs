//! Strided matrix products and transposition on one thread.

use gemm::Parallelism;

use super::real::Real;
#[cfg(target_arch = "x86_64")]
use super::real::{Level, level};

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
pub(crate) enum Put {
    /// They are overwritten.
    Set,
    /// The product is added to them.
    Add,
}

/// Index of the last entry of a matrix.
fn last(row: usize, column: usize, rows: usize, columns: usize) -> usize {
    rows.saturating_sub(1) * row + columns.saturating_sub(1) * column
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
    assert!(last(target.row, target.column, rows, columns) < target.values.len(), "target too short");
    let rows_apart = target.row > last(0, target.column, 1, columns);
    let columns_apart = target.column > last(target.row, 0, rows, 1);
    assert!(
        (rows_apart || rows == 1) && target.column > 0 || columns_apart && target.row > 0,
        "target overlaps"
    );
    assert!(depth == 0 || last(left.row, left.column, rows, depth) < left.values.len(), "left too short");
    assert!(
        depth == 0 || last(right.row, right.column, depth, columns) < right.values.len(),
        "right too short"
    );

    #[cfg(target_arch = "x86_64")]
    if depth > 0 && target.column == 1 && right.column == 1 && level() != Level::Plain {
        let pointers = (target.values.as_mut_ptr(), left.values.as_ptr(), right.values.as_ptr());
        if let Some(pointers) = T::as_single(pointers) {
            let strides = super::product::Strides {
                target_row: target.row,
                left_row: left.row,
                left_column: left.column,
                right_row: right.row,
            };
            let (shape, add) = ((rows, depth, columns), put == Put::Add);
            // SAFETY: the assertions above keep every entry inside its slice and the target's rows apart; the target
            // is borrowed exclusively; `level` has seen the instructions.
            unsafe {
                match level() {
                    Level::Avx512 => super::product::multiply_avx512(shape, pointers, strides, add),
                    _ => super::product::multiply_avx2(shape, pointers, strides, add),
                }
            }
            return;
        }
    }
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

/// `source`, `rows` rows of `columns` values that are `source_row` apart, to `target (columns, rows)`.
///
/// A product runs best along contiguous values; those over time want time last in one operand and first in the
/// other.
pub(super) fn transpose<T: Real>(
    source: &[T],
    source_row: usize,
    (rows, columns): (usize, usize),
    target: &mut [T],
) {
    if rows == 0 || columns == 0 {
        return;
    }
    let target = &mut target[..rows * columns];
    assert!(last(source_row, 1, rows, columns) < source.len(), "source too short");
    // What is done in squares of 16; the rest goes one by one.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
    let (mut square_rows, mut square_columns) = (0, 0);
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512
        && let Some((to, from, _)) = T::as_single((target.as_mut_ptr(), source.as_ptr(), source.as_ptr()))
    {
        (square_rows, square_columns) = (rows / 16 * 16, columns / 16 * 16);
        for column in (0..square_columns).step_by(16) {
            for row in (0..square_rows).step_by(16) {
                // SAFETY: both squares lie inside the matrices, whose ends were checked above; `level` has seen the
                // instructions.
                unsafe {
                    let from = from.add(row * source_row + column);
                    super::square::transpose_square(from, source_row, to.add(column * rows + row), rows);
                }
            }
        }
    }
    for row in 0..rows {
        let done = if row < square_rows { square_columns } else { 0 };
        let values = &source[row * source_row..][..columns];
        for (column, &value) in values.iter().enumerate().skip(done) {
            target[column * rows + row] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small integers, so that sums are exact in any order.
    fn numbers(length: usize, seed: usize) -> Vec<f32> {
        (0..length).map(|i| ((i * 7919 + seed * 104_729) % 17) as f32 - 8.0).collect()
    }

    #[test]
    fn products_of_every_shape_touch_what_they_should_and_nothing_else() {
        for rows in (1..20).chain([33, 96]) {
            for columns in (1..70).step_by(3).chain([16, 32, 48, 64, 80, 96, 256]) {
                let depth = 1 + (rows + columns) % 9;
                let (left, right) = (numbers(rows * (depth + 1), 1), numbers(depth * (columns + 2), 2));
                for put in [Put::Set, Put::Add] {
                    // Two values between the rows of the target, which must stay.
                    let row = columns + 2;
                    let before = numbers(rows * row, 3);
                    let mut target = before.clone();
                    multiply(
                        (rows, depth, columns),
                        ViewMut::rows(&mut target, row),
                        put,
                        View::strided(&left, 1, rows),
                        View::rows(&right, columns + 2),
                    );
                    for (at, &value) in target.iter().enumerate() {
                        let (i, j) = (at / row, at % row);
                        let product: f32 = (0..depth)
                            .map(|k| left[i + k * rows] * right[k * (columns + 2) + j.min(columns + 1)])
                            .sum();
                        let expected = match put {
                            _ if j >= columns => before[at],
                            Put::Set => product,
                            Put::Add => before[at] + product,
                        };
                        assert_eq!(value, expected, "{rows} x {depth} x {columns} at {i}, {j}");
                    }
                }
            }
        }
    }

    #[test]
    fn transposition_of_every_shape() {
        for rows in [1, 3, 16, 17, 48, 50] {
            for columns in [1, 5, 16, 31, 256] {
                let source = numbers(rows * (columns + 3), 4);
                let mut target = vec![0.0; rows * columns];
                transpose(&source, columns + 3, (rows, columns), &mut target);
                for row in 0..rows {
                    for column in 0..columns {
                        assert_eq!(target[column * rows + row], source[row * (columns + 3) + column]);
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "right too short")]
    fn a_product_beyond_its_operands_is_refused() {
        let mut target = [0.0f32; 64];
        multiply(
            (2, 2, 32),
            ViewMut::rows(&mut target, 32),
            Put::Set,
            View::rows(&[1.0; 4], 2),
            View::rows(&[1.0; 63], 32),
        );
    }
}
