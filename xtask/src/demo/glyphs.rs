//! The few letters that the pictures need, drawn as dots: there may be no font on the machine.

use plotters::prelude::*;

const DOT_PIXELS: i32 = 2;
const GLYPH_WIDTH: i32 = 3;

/// Five rows of three dots, as octal digits from the top.
fn rows(letter: char) -> [u8; 5] {
    match letter {
        '0' => [7, 5, 5, 5, 7],
        '1' => [2, 6, 2, 2, 7],
        '2' => [7, 1, 7, 4, 7],
        '3' => [7, 1, 3, 1, 7],
        '4' => [5, 5, 7, 1, 1],
        '5' => [7, 4, 7, 1, 7],
        '6' => [7, 4, 7, 5, 7],
        '7' => [7, 1, 2, 2, 2],
        '8' => [7, 5, 7, 5, 7],
        '9' => [7, 5, 7, 1, 7],
        'A' => [2, 5, 7, 5, 5],
        'E' => [7, 4, 6, 4, 7],
        'G' => [7, 4, 5, 5, 7],
        'H' => [5, 5, 7, 5, 5],
        'K' => [5, 5, 6, 5, 5],
        'N' => [6, 5, 5, 5, 5],
        'S' => [7, 4, 7, 1, 7],
        'T' => [7, 2, 2, 2, 2],
        'U' => [5, 5, 5, 5, 7],
        'Z' => [7, 1, 2, 4, 7],
        _ => [0; 5],
    }
}

/// Writes `text` with its upper left corner at `(x, y)`.
pub fn write_text<DB: DrawingBackend>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    (x, y): (i32, i32),
    text: &str,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    for (place, letter) in text.chars().enumerate() {
        let left = x + place as i32 * (GLYPH_WIDTH + 1) * DOT_PIXELS;
        for (row, dots) in rows(letter).into_iter().enumerate() {
            for column in (0..GLYPH_WIDTH).filter(|c| dots >> (GLYPH_WIDTH - 1 - c) & 1 == 1) {
                for dot in 0..DOT_PIXELS * DOT_PIXELS {
                    let (right, down) = (dot % DOT_PIXELS, dot / DOT_PIXELS);
                    let pixel = (left + column * DOT_PIXELS + right, y + row as i32 * DOT_PIXELS + down);
                    area.draw_pixel(pixel, &BLACK)?;
                }
            }
        }
    }
    Ok(())
}
