//! PostgreSQL's protocol, version 3: where a request and a reply end, and the first word of each statement. A request is
//! all that the server answers with one ReadyForQuery; the start of a session is one, too.

use std::collections::HashMap;
use std::io;

use super::connection::Part;
use super::plan::Request;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// What a connection has said so far.
#[derive(Default)]
pub struct Session {
    has_begun: bool,
    /// First words, by the names that the client gave.
    statements: HashMap<Vec<u8>, String>,
    portals: HashMap<Vec<u8>, String>,
}

impl Session {
    /// The request that `bytes` begin with, when all of it is there.
    pub fn request(&mut self, bytes: &[u8]) -> io::Result<Option<Request>> {
        if !self.has_begun {
            return self.beginning(bytes);
        }
        let mut length = 0;
        loop {
            let Some(message) = message(&bytes[length..])? else { return Ok(None) };
            length += message;
            // The server keeps the answers to Parse, Bind, Describe, Execute and Close until a Sync or a Flush.
            let tag = bytes[length - message];
            if !matches!(tag, b'P' | b'B' | b'D' | b'E' | b'C') {
                let words = self.words(&bytes[..length])?;
                let is_answered = matches!(tag, b'Q' | b'S' | b'F');
                return Ok(Some(Request { length, words, is_answered, answer: None }));
            }
        }
    }

    fn beginning(&mut self, bytes: &[u8]) -> io::Result<Option<Request>> {
        let (Some(length), Some(code)) = (word(bytes, 0), word(bytes, 4)) else { return Ok(None) };
        let length = usize::try_from(length).ok().filter(|length| *length >= 8);
        let length = length.ok_or_else(strange)?;
        if length > bytes.len() {
            return Ok(None);
        }
        let mut request = Request { length, ..Request::default() };
        match code {
            // What is encrypted cannot be read, so the proxy says that there is no such thing.
            SSL_REQUEST | GSS_REQUEST => {
                request.is_answered = true;
                request.answer = Some(b"N");
            }
            CANCEL_REQUEST => {}
            _ => {
                self.has_begun = true;
                request.is_answered = true;
            }
        }
        Ok(Some(request))
    }

    /// The first words of the statements that these whole messages execute.
    fn words(&mut self, mut bytes: &[u8]) -> io::Result<Vec<String>> {
        let mut words = Vec::new();
        while let Some(length) = message(bytes)? {
            let (mut body, tag) = (&bytes[5..length], bytes[0]);
            match tag {
                b'Q' => words.push(first_word(text(&mut body)?)),
                b'P' => {
                    let name = text(&mut body)?.to_vec();
                    self.statements.insert(name, first_word(text(&mut body)?));
                }
                b'B' => {
                    let portal = text(&mut body)?.to_vec();
                    let word = self.statements.get(text(&mut body)?).cloned();
                    self.portals.insert(portal, word.unwrap_or_default());
                }
                b'E' => words.extend(self.portals.get(text(&mut body)?).cloned()),
                _ => {}
            }
            bytes = &bytes[length..];
        }
        Ok(words)
    }
}

/// The message of the server that `bytes` begin with, when all of it is there.
pub fn part(bytes: &[u8]) -> io::Result<Option<Part>> {
    let Some(length) = message(bytes)? else { return Ok(None) };
    let (tag, body) = (bytes[0], &bytes[5..length]);
    let commits = tag == b'C' && body == b"COMMIT\0";
    Ok(Some(Part { length, is_last: tag == b'Z', is_unasked: false, commits }))
}

/// How long the message is that `bytes` begin with, when all of it is there: a tag, and a length that counts itself.
fn message(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(length) = word(bytes, 1) else { return Ok(None) };
    let length = usize::try_from(length).ok().filter(|length| *length >= 4).ok_or_else(strange)?;
    Ok((length < bytes.len()).then_some(length + 1))
}

/// Takes a text that ends with a zero.
fn text<'a>(body: &mut &'a [u8]) -> io::Result<&'a [u8]> {
    let end = body.iter().position(|byte| *byte == 0).ok_or_else(strange)?;
    let (text, rest) = body.split_at(end);
    *body = &rest[1..];
    Ok(text)
}

/// In capitals; `END` is another word for `COMMIT`.
fn first_word(statement: &[u8]) -> String {
    let letters = statement.trim_ascii_start().iter().take_while(|byte| byte.is_ascii_alphabetic());
    let word: String = letters.map(|byte| char::from(byte.to_ascii_uppercase())).collect();
    if word == "END" { "COMMIT".to_owned() } else { word }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is not PostgreSQL's protocol, version 3")
}
