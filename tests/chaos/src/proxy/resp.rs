//! RESP2 and RESP3: where a command and a reply end. What they mean is nobody's business here but the first words.

use std::io;

use super::connection::Part;
use super::plan::Request;

/// Words of a command that a trick may be aimed at: its name, and of a script its hash.
const WORDS: usize = 2;

/// The command that `bytes` begin with, when all of it is there.
pub fn request(bytes: &[u8]) -> io::Result<Option<Request>> {
    let Some((line, mut at)) = line(bytes, 0) else { return Ok(None) };
    if line.first() != Some(&b'*') {
        let words: Vec<String> =
            line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(word).collect();
        let is_answered = !words.is_empty();
        return Ok(Some(Request { length: at, words, is_answered, ..Request::default() }));
    }
    let count = number(&line[1..])?.max(0);
    let mut words = Vec::new();
    for _ in 0..count {
        let Some((begin, end)) = bulk(bytes, at)? else { return Ok(None) };
        if words.len() < WORDS {
            words.push(word(&bytes[begin..end]));
        }
        at = end + 2;
    }
    Ok(Some(Request { length: at, words, is_answered: count > 0, ..Request::default() }))
}

/// The reply that `bytes` begin with, when all of it is there. A push is nobody's reply.
pub fn part(bytes: &[u8]) -> io::Result<Option<Part>> {
    let (mut at, mut missing) = (0, 1_usize);
    while missing > 0 {
        let Some((head, next)) = line(bytes, at) else { return Ok(None) };
        let Some((kind, text)) = head.split_first() else { return Err(strange()) };
        at = next;
        missing -= 1;
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {}
            b'$' | b'!' | b'=' => {
                if let Ok(length) = usize::try_from(number(text)?) {
                    at = at.checked_add(length + 2).ok_or_else(strange)?;
                    if at > bytes.len() {
                        return Ok(None);
                    }
                }
            }
            b'*' | b'~' | b'>' => missing += usize::try_from(number(text)?).unwrap_or(0),
            b'%' => missing += 2 * usize::try_from(number(text)?).unwrap_or(0),
            // Attributes stand before the value that they are about.
            b'|' => missing += 2 * usize::try_from(number(text)?).unwrap_or(0) + 1,
            _ => return Err(strange()),
        }
    }
    let is_unasked = bytes[0] == b'>';
    Ok(Some(Part { length: at, is_last: !is_unasked, is_unasked, commits: false }))
}

/// `$5\r\nhello\r\n`: where the content begins and ends.
fn bulk(bytes: &[u8], at: usize) -> io::Result<Option<(usize, usize)>> {
    let Some((head, begin)) = line(bytes, at) else { return Ok(None) };
    let length = match head.split_first() {
        Some((b'$', text)) => usize::try_from(number(text)?).map_err(|_| strange())?,
        _ => return Err(strange()),
    };
    let end = begin.checked_add(length).ok_or_else(strange)?;
    Ok((end + 2 <= bytes.len()).then_some((begin, end)))
}

/// A line without its end, and where the next one begins.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    Some((rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]), at + end + 1))
}

fn number(text: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(strange)
}

fn word(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_ascii_uppercase()
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no RESP")
}
