//! Fences of a Markdown page, in order.

/// What a fence is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An HTTP request.
    Request,
    /// The answer to the request before it.
    Answer(u16),
    /// JSON by itself.
    Json,
    /// A configuration.
    Toml,
    /// Commands.
    Shell {
        /// Whether they are run.
        runnable: bool,
    },
    /// A picture or a listing: nothing to check.
    Text,
    /// Not a fence: wait for a job.
    Wait {
        /// Which.
        job: String,
        /// For which state.
        state: String,
    },
    /// Something this test does not know.
    Unknown(String),
}

impl Kind {
    /// Whether checking it takes a running server.
    pub(crate) fn needs_server(&self) -> bool {
        matches!(self, Kind::Request | Kind::Toml | Kind::Wait { .. } | Kind::Shell { runnable: true })
    }
}

/// A fence, with the line it begins on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// Every fence and every `<!-- wait: … -->`, in order.
pub(crate) fn parse(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    for (line, text) in (1..).zip(page.lines()) {
        match (text.strip_prefix("```"), open.take()) {
            (Some(_), Some(done)) => found.push(done),
            (Some(info), None) => open = Some(Block { kind: kind(info), line, text: String::new() }),
            (None, Some(mut block)) => {
                block.text.push_str(text);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => found.extend(wait(text).map(|kind| Block { kind, line, text: String::new() })),
        }
    }
    assert_eq!(open, None, "a fence is not closed");
    found
}

fn kind(info: &str) -> Kind {
    match info.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["http"] => Kind::Request,
        ["json"] => Kind::Json,
        ["json", status] if status.parse::<u16>().is_ok() => Kind::Answer(status.parse().unwrap_or_default()),
        ["toml"] => Kind::Toml,
        ["sh"] => Kind::Shell { runnable: false },
        ["sh", "runnable"] => Kind::Shell { runnable: true },
        ["text"] => Kind::Text,
        words => Kind::Unknown(words.join(" ")),
    }
}

fn wait(line: &str) -> Option<Kind> {
    let inner = line.strip_prefix("<!-- wait: ")?.strip_suffix(" -->")?;
    let (job, state) = inner.split_once(' ')?;
    Some(Kind::Wait { job: job.to_owned(), state: state.to_owned() })
}

#[test]
fn a_page_is_read_in_order() {
    let page =
        "# T\n```http\nGET /x\n```\n<!-- wait: a completed -->\n```json 200\n{}\n```\n```odd thing\n```\n";
    let kinds: Vec<_> = parse(page).into_iter().map(|block| (block.line, block.kind, block.text)).collect();
    let wait = Kind::Wait { job: "a".into(), state: "completed".into() };
    assert_eq!(
        kinds,
        [
            (2, Kind::Request, "GET /x\n".into()),
            (5, wait, String::new()),
            (6, Kind::Answer(200), "{}\n".into()),
            (9, Kind::Unknown("odd thing".into()), String::new()),
        ]
    );
}
