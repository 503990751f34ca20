//! What a machine's own boot log says, before the agent answers.
//!
//! The vendor keeps no log, so it is read over SSH: the bootstrap's output, and before there is any, cloud-init's. A piece
//! at a time; nothing waits for more to come.

use std::time::Duration;

use trainyard_connector::ssh::{ExecLimits, Tunnel};
use trainyard_connector::{ConnectorError, ErrorKind, MachineLog};

/// Prints which log this is and from which byte, then that piece of it. Standard input says which log was read last and
/// from which byte to go on; a log that is another one now is read from its start.
const READ: &str = "read -r was from\n\
    cd \"$HOME\" && f=trainyard/boot.log && is=boot\n\
    [ -s \"$f\" ] || { f=/var/log/cloud-init-output.log; is=init; }\n\
    [ \"$was\" = \"$is\" ] || from=1\n\
    echo \"$is $from\"\n\
    tail -c \"+$from\" \"$f\" 2>/dev/null | head -c 131072\n";
/// Most bytes of an answer: the piece and its first line.
const LIMITS: ExecLimits = ExecLimits { within: Duration::from_secs(15), output_bytes_max: (128 << 10) + 64 };
/// Most lines of an answer.
const LINES_MAX: usize = 1000;
/// Most bytes of a line.
const LINE_BYTES_MAX: usize = 4096;

/// Reads on from where an earlier piece ended.
pub(crate) async fn read(tunnel: &Tunnel, after: Option<&str>) -> Result<MachineLog, ConnectorError> {
    let (was, from) = after.and_then(Cursor::parse).map_or(("none", 1), |cursor| (cursor.log, cursor.from));
    let input = format!("{was} {from}\n");
    let done = tunnel.exec(READ, input.as_bytes(), LIMITS).await?;
    piece(&done.output).ok_or_else(|| {
        let text = "the machine's boot log could not be read over SSH";
        ConnectorError::refused(ErrorKind::Unreachable, text)
    })
}

/// Where to go on: a log and the number of its next byte, from 1.
struct Cursor {
    log: &'static str,
    from: u64,
}

impl Cursor {
    fn parse(text: &str) -> Option<Cursor> {
        let (log, from) = text.trim().split_once(' ')?;
        let log = match log {
            "boot" => "boot",
            "init" => "init",
            _ => return None,
        };
        Some(Cursor { log, from: from.parse().ok().filter(|from| *from > 0)? })
    }
}

/// Whole lines of an answer. A line that is not finished yet waits for the next piece.
fn piece(output: &[u8]) -> Option<MachineLog> {
    let head = output.iter().position(|byte| *byte == b'\n')?;
    let cursor = Cursor::parse(std::str::from_utf8(&output[..head]).ok()?)?;
    let body = &output[head + 1..];
    let mut log = MachineLog::default();
    let mut read = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n').take(LINES_MAX) {
        let whole = line.ends_with(b"\n") || line.len() > LINE_BYTES_MAX;
        if !whole {
            break;
        }
        read += line.len() as u64;
        let shown = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]);
        let shown = shown.trim_end();
        log.broken = log.broken.or_else(|| trainyard_agent::boot_failure(shown));
        log.lines.push(shown.to_owned());
    }
    log.cursor = Some(format!("{} {}", cursor.log, cursor.from + read));
    Some(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_given_and_the_rest_waits() {
        let log = piece(b"boot 11\none\r\n\xfftwo\nthr").unwrap();
        assert_eq!(log.lines, ["one", "\u{fffd}two"]);
        assert_eq!(log.cursor.as_deref(), Some("boot 21"));
        assert_eq!(piece(b"init 1\n").unwrap().cursor.as_deref(), Some("init 1"));
    }

    #[test]
    fn long_lines_and_many_lines_are_bounded() {
        let mut output = b"boot 1\n".to_vec();
        output.extend(vec![b'x'; 50_000]);
        let log = piece(&output).unwrap();
        assert_eq!((log.lines[0].len(), log.cursor.as_deref()), (LINE_BYTES_MAX, Some("boot 50001")));
        let mut output = b"boot 1\n".to_vec();
        output.extend(b"y\n".repeat(3000));
        let log = piece(&output).unwrap();
        assert_eq!((log.lines.len(), log.cursor.as_deref()), (LINES_MAX, Some("boot 2001")));
    }

    #[test]
    fn a_failed_bootstrap_proves_that_the_machine_will_not_come_up() {
        let broken = |line: &str| piece(format!("boot 1\n{line}\n").as_bytes()).unwrap().broken;
        assert_eq!(broken("trainyard-boot: fetching"), None);
        assert_eq!(broken("it said trainyard-boot: failed x"), None);
        let libc = broken("trainyard-boot: failed libc the C library is too old").unwrap();
        assert_eq!(libc, ("the agent could not be started: the C library is too old".to_owned(), false));
        assert!(broken("trainyard-boot: failed disk cannot make /x").unwrap().1);
    }

    #[test]
    fn nonsense_is_no_log() {
        for output in ["", "boot", "boot 1", "boot 0\n", "other 1\n", "boot x\n", "\n"] {
            assert!(piece(output.as_bytes()).is_none(), "{output:?}");
        }
    }
}
