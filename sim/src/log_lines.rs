//! The log file of a simulated gateway whose configuration names one (`logging.file`): numbered lines of one width, of which
//! each process has written a piece that ends within a line. What `logs.tail` must show of it can be told by numbers alone.

/// Bytes of a line with its end.
pub const WIDTH: u64 = 40;
/// Bytes that each process adds.
pub const PIECE: u64 = 20_010;

/// The line of a number, from 1, without its end.
pub fn line(number: u64) -> String {
    format!("{:<width$}", format!("line {number}"), width = WIDTH as usize - 1)
}

/// What the process number `life`, from 0, adds.
pub fn piece(life: u64) -> Vec<u8> {
    let (from, to) = (life * PIECE, (life + 1) * PIECE);
    let lines = from / WIDTH..to.div_ceil(WIDTH);
    let text: String = lines.clone().map(|n| line(n + 1) + "\n").collect();
    let begin = lines.start * WIDTH;
    text.as_bytes()[(from - begin) as usize..(to - begin) as usize].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_one_text() {
        let text = [piece(0), piece(1), piece(2)].concat();
        assert_eq!(text.len() as u64, 3 * PIECE);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().nth(500), Some(line(501).as_str()));
        assert_eq!(text.lines().count() as u64, (3 * PIECE).div_ceil(WIDTH));
    }
}
