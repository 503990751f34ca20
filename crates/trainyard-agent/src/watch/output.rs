//! Cutting the training's output into segments, and handing over those that may tell something.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::printed::{SEGMENT_BYTES_MAX, may_tell};
use super::run::{Input, Shared};

/// Takes the training's output, line by line. Cheap to clone; never waits.
#[derive(Debug, Clone)]
pub struct OutputSink {
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) shared: Arc<Shared>,
}

impl OutputSink {
    /// One that nobody reads, of a training that has ended.
    pub(crate) fn closed() -> OutputSink {
        OutputSink { inputs: mpsc::channel(1).0, shared: Arc::default() }
    }

    /// Takes one line without its end; carriage returns in it part redrawn progress bars. Only lines that may hold a
    /// dict or a bar are kept; those over 8 KiB are cut. Where the watcher is too far behind, bars are left out first,
    /// then lines, which are counted in [`Problems::lines_lost`](super::Problems::lines_lost).
    pub fn line(&self, line: &str) {
        for segment in line.split(['\r', '\n']) {
            let segment = &segment[..segment.floor_char_boundary(SEGMENT_BYTES_MAX)];
            if may_tell(segment) {
                self.send(segment);
            }
        }
    }

    /// A cutter for one stream of raw output: standard output and standard error need one each, unless they are one.
    pub fn feed(&self) -> OutputFeed {
        OutputFeed { sink: self.clone(), torn: Vec::new() }
    }

    fn send(&self, segment: &str) {
        let crowded = self.inputs.capacity() < self.inputs.max_capacity() / 2;
        if crowded && !segment.contains('{') {
            return;
        }
        if self.inputs.try_send(Input::Segment(segment.to_owned())).is_err() {
            self.shared.lines_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Cuts raw output, as it comes from the pipe, into segments.
#[derive(Debug)]
pub struct OutputFeed {
    sink: OutputSink,
    torn: Vec<u8>,
}

impl OutputFeed {
    /// Takes the next bytes of the stream, before carriage returns are collapsed. A bar is drawn without an end: it is
    /// taken as soon as it is whole.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend(&bytes[..end]);
            self.take();
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
        if self.torn.ends_with(b"]") {
            // Fed again at its end, a bar tells nothing new.
            let text = String::from_utf8_lossy(&self.torn);
            if text.contains("%|") && !text.contains('{') {
                self.sink.line(&text);
            }
        }
    }

    /// Takes a last line that has no end: the stream is closed.
    pub fn end(mut self) {
        self.take();
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = SEGMENT_BYTES_MAX.saturating_sub(self.torn.len());
        self.torn.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn take(&mut self) {
        if !self.torn.is_empty() {
            self.sink.line(&String::from_utf8_lossy(&self.torn));
            self.torn.clear();
        }
    }
}
