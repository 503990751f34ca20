//! Texts that look like secrets. Errs towards letting through: a refused model name costs a user more than a
//! token that nobody could have recognised.

/// What kind of secret the value of a variable looks like, in words for a message; `None` where it looks like none.
/// Known shapes are found anywhere in the value; others only under a name that says token, secret, password or key.
pub fn looks_like_token(name: &str, value: &str) -> Option<&'static str> {
    known_token(value).or_else(|| suspicious(name, value))
}

/// A secret whose issuer gives it a shape, anywhere in the text.
pub(super) fn known_token(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)))
        .find_map(|word| shape(word.trim_matches('.')))
}

/// Prefixes after which at least 16 letters and digits in a row make a token. Their own documentation: hf.co/docs/hub,
/// docs.github.com "token formats", docs.runpod.io, platform.openai.com, docs.gitlab.com, api.slack.com.
const PREFIXES: [(&str, &str); 13] = [
    ("hf_", "a Hugging Face token"),
    ("api_org_", "a Hugging Face token"),
    ("sk-", "an API key"),
    ("ghp_", "a GitHub token"),
    ("gho_", "a GitHub token"),
    ("ghu_", "a GitHub token"),
    ("ghs_", "a GitHub token"),
    ("ghr_", "a GitHub token"),
    ("github_pat_", "a GitHub token"),
    ("rpa_", "a RunPod key"),
    ("glpat-", "a GitLab token"),
    ("nvapi-", "an NVIDIA key"),
    ("xoxb-", "a Slack token"),
];

fn shape(word: &str) -> Option<&'static str> {
    let prefixed = PREFIXES
        .iter()
        .find(|(prefix, _)| word.strip_prefix(prefix).is_some_and(|rest| longest_run(rest) >= 16));
    if let Some((_, kind)) = prefixed {
        return Some(kind);
    }
    let aws = word.strip_prefix("AKIA").or_else(|| word.strip_prefix("ASIA"));
    if aws
        .is_some_and(|id| id.len() == 16 && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()))
    {
        return Some("an AWS access key");
    }
    let parts: Vec<&str> = word.split('.').collect();
    let is_jwt = matches!(parts.as_slice(), [head, body, _] if head.starts_with("eyJ") && head.len() >= 10 && body.len() >= 10);
    is_jwt.then_some("a JSON web token")
}

/// The longest run of letters and digits.
fn longest_run(text: &str) -> usize {
    text.split(|c: char| !c.is_ascii_alphanumeric()).map(str::len).max().unwrap_or(0)
}

/// A value that only its variable's name gives away.
fn suspicious(name: &str, value: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let has = |word: &str| name.split(['_', '-', '.']).any(|part| part == word);
    let is_key = name.ends_with("_KEY") || name.ends_with("APIKEY");
    // Weights & Biases: 40 hexadecimal digits, which is also what a commit looks like, so the name decides.
    if (is_key || has("TOKEN")) && value.len() == 40 && value.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Some("an API key");
    }
    let says_secret = ["TOKEN", "SECRET", "PASSWORD", "PASSWD"].into_iter().any(has)
        || name.contains("API_KEY")
        || name.contains("APIKEY")
        || name.contains("ACCESS_KEY");
    let is_place = value.starts_with(['/', '.', '~']) || value.contains("://");
    let is_opaque =
        value.len() >= 20 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-.".contains(&b));
    (says_secret && !is_place && is_opaque && entropy_bits(value) >= 3.0).then_some("a secret")
}

/// Shannon entropy in bits per byte: random hexadecimal has about 3.5 at this length, a repeated word below 3.
fn entropy_bits(text: &str) -> f64 {
    let mut counts = [0u32; 256];
    text.bytes().for_each(|b| counts[usize::from(b)] += 1);
    let len = text.len() as f64;
    let share = |count: u32| f64::from(count) / len;
    counts.into_iter().filter(|count| *count > 0).map(|count| -share(count) * share(count).log2()).sum()
}
