//! A flat Python dict as `print` shows it: `{'loss': 2.3, 'epoch': '0.07', 'x': np.float64(1.0), 'y': nan}`.

use crate::watch::json;

/// Most entries read of one dict.
const ENTRIES_MAX: usize = 256;
/// How deep values that are ignored may nest.
const DEPTH_MAX: u32 = 16;

/// The numbers in the dict that begins at the start of `text`, with the index after its end. Values that are no
/// numbers are skipped. `None`: not a dict with quoted keys.
pub(super) fn parse(text: &str) -> Option<(Vec<(String, f64)>, usize)> {
    let mut cursor = Cursor { text, at: 0 };
    cursor.eat('{')?;
    let mut numbers = Vec::new();
    for _ in 0..ENTRIES_MAX {
        cursor.blanks();
        if cursor.eat('}').is_some() {
            break;
        }
        let key = cursor.string()?;
        cursor.blanks();
        cursor.eat(':')?;
        cursor.blanks();
        if let Some(number) = cursor.value(0)? {
            numbers.push((key, number));
        }
        cursor.blanks();
        if cursor.eat(',').is_none() {
            cursor.eat('}')?;
            break;
        }
    }
    Some((numbers, cursor.at))
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, expected: char) -> Option<()> {
        (self.peek()? == expected).then(|| self.at += expected.len_utf8())
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|c| c == ' ' || c == '\t') {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.next().filter(|c| *c == '\'' || *c == '"')?;
        let mut out = String::new();
        loop {
            match self.next()? {
                '\\' => out.push(self.next()?),
                c if c == quote => return Some(out),
                c => out.push(c),
            }
        }
    }

    /// One value: the number that it is, or `Some(None)` for another value. `None`: not a value.
    fn value(&mut self, depth: u32) -> Option<Option<f64>> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.peek()? {
            '\'' | '"' => self.string().map(|text| json::number_in(&text)),
            '[' => self.skip_list('[', ']', depth),
            '(' => self.skip_list('(', ')', depth),
            '{' => self.skip_list('{', '}', depth),
            _ => self.word(depth),
        }
    }

    fn skip_list(&mut self, open: char, close: char, depth: u32) -> Option<Option<f64>> {
        self.eat(open)?;
        loop {
            self.blanks();
            if self.eat(close).is_some() {
                return Some(None);
            }
            if self.eat(',').is_none() && self.eat(':').is_none() {
                self.value(depth + 1)?;
            }
        }
    }

    /// A bare number or name; `np.float64(1.0)` and `tensor(1.0, device='cuda:0')` are the number inside.
    fn word(&mut self, depth: u32) -> Option<Option<f64>> {
        let begin = self.at;
        while self
            .peek()
            .is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-' | '='))
        {
            self.at += 1;
        }
        let word = &self.text[begin..self.at];
        if word.is_empty() {
            return None;
        }
        if self.peek() != Some('(') {
            return Some(json::number_in(word));
        }
        let inside = self.at + 1;
        self.skip_call(depth)?;
        let first = self.text[inside..].split([',', ')']).next()?;
        Some(json::number_in(first))
    }

    fn skip_call(&mut self, depth: u32) -> Option<()> {
        self.eat('(')?;
        loop {
            self.blanks();
            if self.eat(')').is_some() {
                return Some(());
            }
            if self.eat(',').is_none() {
                self.argument(depth + 1)?;
            }
        }
    }

    /// `1.0`, `device='cuda:0'`, `grad_fn=<NllLossBackward0>`.
    fn argument(&mut self, depth: u32) -> Option<()> {
        if self.eat('<').is_some() {
            while self.next()? != '>' {}
            return Some(());
        }
        self.value(depth).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let (numbers, end) = parse(text).unwrap();
        let shown: Vec<(String, String)> =
            numbers.into_iter().map(|(name, value)| (name, value.to_string())).collect();
        let expected: Vec<(String, String)> =
            expected.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        assert_eq!(shown, expected, "{text}");
        assert!(text[..end].ends_with('}'), "{text}");
    }

    #[test]
    fn dicts_as_python_prints_them() {
        check(
            "{'loss': 2.345, 'learning_rate': 2e-05, 'epoch': 1}",
            &[("loss", "2.345"), ("learning_rate", "0.00002"), ("epoch", "1")],
        );
        check(
            "{'loss': '2.345', 'learning_rate': '2e-05'} tail",
            &[("loss", "2.345"), ("learning_rate", "0.00002")],
        );
        check(
            "{'loss': nan, 'a': inf, 'b': -inf, 'c': 'nan'}",
            &[("loss", "NaN"), ("a", "inf"), ("b", "-inf"), ("c", "NaN")],
        );
        check("{\"loss\": NaN, \"a\": -Infinity}", &[("loss", "NaN"), ("a", "-inf")]);
        check(
            "{'loss': np.float64(1.5), 't': tensor(2., device='cuda:0'), 'g': tensor(0.5, grad_fn=<Nll(x)>)}",
            &[("loss", "1.5"), ("t", "2"), ("g", "0.5")],
        );
        check("{'a': True, 'b': None, 'c': [1, {'d': 2}], 'e': 'text, with }', 'loss': 1}", &[("loss", "1")]);
        check("{'it\\'s': 1}", &[("it's", "1")]);
        check("{}", &[]);
    }

    #[test]
    fn other_text_is_not_a_dict() {
        for text in [
            "{",
            "{'a'",
            "{'a': ",
            "{'a': 1",
            "{a: 1}",
            "{'a' 1}",
            "{'a': [1",
            "{'a': }",
            "{'a': f(1",
            "{1, 2}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&format!("{{'a': {}", "[".repeat(10_000))), None);
    }
}
