//! Columns of text.

use super::paint::Paint;

/// `rows` under `headings`, in columns as wide as their widest cell; the last column is not padded.
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]], paint: Paint) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<String>>().join("  ").trim_end().to_owned()
    };
    let heading = paint.bold(line(headings));
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    [heading].into_iter().chain(rows).collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["jdoe", "running"], ["a-longer-one", "stopped"]].map(|row| row.map(str::to_owned));
        insta::assert_snapshot!(table(["NAME", "STATE"], &rows, Paint::NONE), @r"
        NAME          STATE
        jdoe          running
        a-longer-one  stopped
        ");
    }
}
