//! Links in Markdown lead somewhere: to a tracked file, and to a heading that is there.

use super::Finding;
use super::files::Tree;

/// Checks the relative links of one page; what lies on the network is not asked for.
pub(crate) fn check(path: &str, text: &str, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let file = if file.is_empty() { path.to_owned() } else { resolve(path, file) };
        if !tree.has(&file) {
            findings.push(Finding::error(
                path,
                line,
                format!("leads to `{file}`, which is not there: mend the link"),
            ));
        } else if !anchor.is_empty()
            && tree.text(&file).is_some_and(|page| !anchors(page).any(|known| known == anchor))
        {
            let what = format!("leads to `#{anchor}`, and `{file}` has no such heading: mend the link");
            findings.push(Finding::error(path, line, what));
        }
    }
    findings
}

/// Lines of prose: what stands in fences is shown, not meant.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    })
}

/// The target of each `[…](target)`, with its line; `code` is left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let spoken: String = line.split('`').step_by(2).collect();
        for rest in spoken.split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            found.push((number, target.trim_matches(['<', '>']).to_owned()));
        }
    }
    found
}

fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// What a heading is called in a link: lower case, spaces as `-`, other signs left out.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(text: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("docs/a.md", text),
            ("docs/b.md", "# The `first` page, shown\n```\n# not one\n```\n"),
            ("README.md", ""),
        ]);
        check("docs/a.md", text, &tree).into_iter().map(|found| found.what).collect()
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        for fine in [
            "[b](b.md)",
            "[b](./b.md#the-first-page-shown)",
            "[up](../README.md) and [dir](../docs)",
            "# Here\n[same](#here)",
            "[net](https://example.org/x#y)",
            "```\n[shown](none.md)\n```",
            "`[code](none.md)`",
        ] {
            assert_eq!(whats(fine), [""; 0], "{fine}");
        }
        for broken in
            ["[b](c.md)", "[b](b.md#second)", "[b](b.md#not-one)", "[x](../docs2/b.md)", "[same](#there)"]
        {
            assert_eq!(whats(broken).len(), 1, "{broken}");
        }
    }
}
