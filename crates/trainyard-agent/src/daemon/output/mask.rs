//! Secrets out of the log: their exact values are replaced, also where a value comes in pieces.

/// Shorter values are not looked for: they would be found everywhere.
const BYTES_MIN: usize = 4;
/// A single line of a value of several lines (a private key) is looked for from this length on.
const LINE_BYTES_MIN: usize = 8;
/// What stands in a value's place.
const MASK: &[u8] = b"***";

/// Replaces values in a stream of bytes. Bytes that may be the beginning of a value are held back until more come,
/// however long that takes.
pub(crate) struct Masker {
    /// The longest first, so that a value that begins with another one is found whole.
    values: Vec<Vec<u8>>,
    begins: [bool; 256],
    held: Vec<u8>,
}

impl Masker {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Masker {
        let mut values = Vec::new();
        for secret in secrets {
            values.push(secret.as_bytes().to_vec());
            values.push(secret.trim().as_bytes().to_vec());
            let lines = secret.lines().map(str::trim).filter(|line| line.len() >= LINE_BYTES_MIN);
            values.extend(lines.map(|line| line.as_bytes().to_vec()));
        }
        values.retain(|value| value.len() >= BYTES_MIN);
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        let mut begins = [false; 256];
        for value in &values {
            begins[usize::from(value[0])] = true;
        }
        Masker { values, begins, held: Vec::new() }
    }

    /// Takes bytes and gives what is safe to show.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(bytes);
        self.scan(true, out);
    }

    /// Gives what was held back: no more will come.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.scan(false, out);
    }

    fn scan(&mut self, more_may_come: bool, out: &mut Vec<u8>) {
        let mut at = 0;
        'bytes: while at < self.held.len() {
            let rest = &self.held[at..];
            if self.begins[usize::from(rest[0])] {
                for value in &self.values {
                    if rest.starts_with(value) {
                        out.extend_from_slice(MASK);
                        at += value.len();
                        continue 'bytes;
                    }
                    if more_may_come && value.starts_with(rest) {
                        break 'bytes;
                    }
                }
            }
            out.push(rest[0]);
            at += 1;
        }
        self.held.drain(..at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(secrets: &[&str], pieces: &[&str]) -> String {
        let mut masker = Masker::new(secrets.iter().copied());
        let mut out = Vec::new();
        for piece in pieces {
            masker.feed(piece.as_bytes(), &mut out);
        }
        masker.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_replaced_however_they_are_cut() {
        let text = "token=hf_secret, hf_secre and hf_secrethf_secret\n";
        for cut in 0..text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(masked(&["hf_secret"], &[a, b]), "token=***, hf_secre and ******\n", "cut at {cut}");
        }
        let bytes: Vec<&str> = text.split("").collect();
        assert_eq!(masked(&["hf_secret"], &bytes), "token=***, hf_secre and ******\n");
    }

    #[test]
    fn of_two_values_with_one_beginning_the_longer_one_is_found() {
        assert_eq!(masked(&["abcd", "abcdef"], &["abc", "def abcd", "eg"]), "*** ***eg");
        assert_eq!(masked(&["abcd", "abcdef"], &["abcde"]), "***e");
    }

    #[test]
    fn short_values_are_left_and_lines_of_long_ones_are_not() {
        assert_eq!(masked(&["abc", ""], &["abc"]), "abc");
        let key = "-----BEGIN KEY-----\nMIIEvAIBADAN\n-----END KEY-----\n";
        assert_eq!(masked(&[key], &["x MIIEvAIBADAN y\n"]), "x *** y\n");
        assert_eq!(masked(&["word\n"], &["the word is"]), "the *** is");
    }
}
