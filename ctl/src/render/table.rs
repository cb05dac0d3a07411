//! Columns as wide as their widest cell. No lines: what is copied from a terminal into a ticket should
//! stay readable.

/// A cell: the text that counts for the width, and a function of it that only adds colour.
pub(super) type Cell = (String, fn(super::Style, &str) -> String);

/// A cell without colour.
pub(super) fn plain(text: impl Into<String>) -> Cell {
    (text.into(), |_, text| text.to_owned())
}

/// A cell that somebody should look at.
pub(super) fn bad(text: impl Into<String>) -> Cell {
    (text.into(), |style, text| style.bad(text))
}

/// A cell that explains others.
fn faint(text: impl Into<String>) -> Cell {
    (text.into(), |style, text| style.faint(text))
}

/// Rows under a heading. Columns whose heading begins with `>` stand to the right.
pub(super) fn table(heading: &[&str], rows: &[Vec<Cell>], style: super::Style) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.chars().count());
        cells.chain([heading[column].trim_start_matches('>').chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut lines = String::new();
    let head: Vec<Cell> = heading.iter().map(|name| faint(name.trim_start_matches('>'))).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (column, (text, paint)) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column].saturating_sub(text.chars().count()));
            let painted = if text.is_empty() { String::new() } else { paint(style, text) };
            if column > 0 {
                line.push_str("  ");
            }
            if heading[column].starts_with('>') {
                line.push_str(&padding);
                line.push_str(&painted);
            } else {
                line.push_str(&painted);
                line.push_str(&padding);
            }
        }
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Style;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let rows =
            vec![vec![plain("core-01"), plain("7"), bad("")], vec![plain("a"), plain("1234"), bad("late")]];
        let text = table(&["NODE", ">LAG", "FLAGS"], &rows, Style::default());
        assert_eq!(text, "NODE      LAG  FLAGS\ncore-01     7\na        1234  late\n");
    }

    #[test]
    fn colours_do_not_shift_columns() {
        let rows = vec![vec![bad("x"), plain("y")]];
        let coloured = table(&["A", "B"], &rows, Style { coloured: true });
        assert!(coloured.ends_with("\x1b[31mx\x1b[0m  y\n"), "{coloured:?}");
    }
}
