//! Rows on standard output: columns in line, or JSON.

use std::io;

/// Prints `rows` under `head`, each column as wide as its widest cell.
pub(super) fn print(head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    super::print_bytes(render(head, rows).as_bytes())
}

fn render(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|h| h.len()).collect();
    let shown = |row: &Vec<String>| row.iter().map(|cell| in_line(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: Vec<&str>| {
        let mut row = String::new();
        for (cell, width) in cells.into_iter().zip(&widths) {
            row.push_str(cell);
            let fill = width.saturating_sub(cell.chars().count()) + 2;
            row.extend(std::iter::repeat_n(' ', fill));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    };
    line(head.to_vec());
    for row in &rows {
        line(row.iter().map(String::as_str).collect());
    }
    text
}

/// A cell without what would break its row: others choose what stands in some.
fn in_line(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for c in cell.chars() {
        match c.is_control() {
            true => text.extend(c.escape_default()),
            false => text.push(c),
        }
    }
    text
}

/// Prints one JSON value.
pub(super) fn print_json(value: &serde_json::Value) -> io::Result<()> {
    super::print_line(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_does_not_break_its_row() {
        let text = render(&["A"], &[vec!["one\ntwo \u{e4}\t\u{1b}[0m".to_owned()]]);
        assert_eq!(text, "A\none\\ntwo \u{e4}\\t\\u{1b}[0m\n");
    }

    #[test]
    fn columns_stand_in_line() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let text = render(&["A", "LONG"], &[row("wide one", "x"), row("", "yy")]);
        assert_eq!(text, "A         LONG\nwide one  x\n          yy\n");
    }
}
