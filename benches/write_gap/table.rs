//! Tables: aligned for a terminal, or in markdown.

/// Prints a table; the first column is aligned to the left, all others to the right.
pub(crate) fn print(markdown: bool, heads: &[&str], rows: &[Vec<String>]) {
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([heads[column].chars().count()]).max().unwrap_or_default()
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let padded: Vec<String> = padded.collect();
        if markdown { format!("| {} |", padded.join(" | ")) } else { padded.join("  ") }
    };
    println!("{}", line(heads.to_vec()));
    if markdown {
        let rule = |(column, width): (usize, &usize)| match column {
            0 => "-".repeat(*width),
            _ => format!("{}:", "-".repeat(width - 1)),
        };
        let rules: Vec<String> = widths.iter().enumerate().map(rule).collect();
        println!("| {} |", rules.join(" | "));
    }
    for row in rows {
        println!("{}", line(row.iter().map(String::as_str).collect()));
    }
}
