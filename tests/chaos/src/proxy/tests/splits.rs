//! However the bytes arrive, the same is read.

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::super::connection::{Inbox, Part};
use super::super::plan::Request;
use super::super::{postgres, resp};

/// Reads that end where `cuts` say.
fn in_pieces(bytes: &[u8], cuts: &[prop::sample::Index]) -> Box<dyn AsyncRead + Unpin> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts.push(bytes.len());
    let (mut begin, mut pieces): (usize, Box<dyn AsyncRead + Unpin>) =
        (0, Box::new(tokio::io::empty()));
    for end in cuts {
        let piece = std::io::Cursor::new(bytes[begin..end].to_vec());
        (begin, pieces) = (end, Box::new(pieces.chain(piece)));
    }
    pieces
}

/// All that `measure` finds, with its bytes.
async fn read<T>(
    pieces: Box<dyn AsyncRead + Unpin>,
    mut measure: impl FnMut(&[u8]) -> std::io::Result<Option<T>>,
    length: impl Fn(&T) -> usize,
) -> Vec<(T, Vec<u8>)> {
    let (mut inbox, mut found) = (Inbox::new(pieces), Vec::new());
    while let Some(next) = inbox.next(&mut measure).await.unwrap() {
        let bytes = inbox.take(length(&next)).to_vec();
        found.push((next, bytes));
    }
    found
}

fn requests(
    pieces: Box<dyn AsyncRead + Unpin>,
    measure: impl FnMut(&[u8]) -> std::io::Result<Option<Request>>,
) -> Vec<(Request, Vec<u8>)> {
    at_once(read(pieces, measure, |request| request.length))
}

fn parts(
    pieces: Box<dyn AsyncRead + Unpin>,
    measure: impl FnMut(&[u8]) -> std::io::Result<Option<Part>>,
) -> Vec<(Part, Vec<u8>)> {
    at_once(read(pieces, measure, |part| part.length))
}

fn at_once<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(task)
}

fn bulk(mark: char, content: &[u8]) -> Vec<u8> {
    [format!("{mark}{}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat()
}

fn many(mark: char, count: usize, items: &[Vec<u8>]) -> Vec<u8> {
    [format!("{mark}{count}\r\n").into_bytes(), items.concat()].concat()
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    let words = vec(vec(any::<u8>(), 0..40), 1..6);
    let inline = "[A-Z]{1,8}( [a-z0-9]{1,8}){0,3}\r\n".prop_map(String::into_bytes);
    let array = words.prop_map(|words| {
        let words: Vec<Vec<u8>> = words.iter().map(|word| bulk('$', word)).collect();
        many('*', words.len(), &words)
    });
    prop_oneof![array, inline]
}

fn reply() -> impl Strategy<Value = Vec<u8>> {
    let line = "[-+][A-Za-z ]{0,20}\r\n".prop_map(String::into_bytes);
    let number = any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes());
    let odd = prop::sample::select(vec!["$-1\r\n", "*-1\r\n", "_\r\n", "#t\r\n", ",1.5\r\n"]);
    let odd = odd.prop_map(|text| text.as_bytes().to_vec());
    let text = (prop::sample::select(vec!['$', '=', '!']), vec(any::<u8>(), 0..60));
    let leaf = prop_oneof![line, number, odd, text.prop_map(|(mark, text)| bulk(mark, &text))];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let list = (prop::sample::select(vec!['*', '~']), vec(inner.clone(), 0..5));
        let list = list.prop_map(|(mark, items)| many(mark, items.len(), &items));
        let pairs = vec((inner.clone(), inner.clone()), 0..3);
        let map = pairs.prop_map(|pairs| {
            let count = pairs.len();
            let items: Vec<Vec<u8>> = pairs.into_iter().flat_map(|(a, b)| [a, b]).collect();
            many('%', count, &items)
        });
        let told = (inner.clone(), inner.clone(), inner);
        let attribute = told.prop_map(|(name, value, about)| many('|', 1, &[name, value, about]));
        prop_oneof![list, map, attribute]
    })
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

/// A startup, then what clients say: simple queries, prepared statements, and what is not answered.
fn session() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let begin = prop::sample::select(vec![false, true]).prop_map(|asks_for_tls| {
        let startup = b"\0\0\0\x13\0\x03\0\0user\0usher\0".to_vec();
        let tls = b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec();
        if asks_for_tls { vec![tls, startup] } else { vec![startup] }
    });
    let statement = "(COMMIT|commit;|SELECT 1|END|insert into t)( [f-z]{0,30})?";
    let simple = statement.prop_map(|text| message(b'Q', format!("{text}\0").as_bytes()));
    let prepared = (statement, "[f-z]{0,4}").prop_map(|(text, name)| {
        [
            message(b'P', format!("{name}\0{text}\0\0\0").as_bytes()),
            message(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes()),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ]
        .concat()
    });
    let silent = prop::sample::select(vec![message(b'H', b""), message(b'p', b"md5\0")]);
    let said = vec(prop_oneof![simple, prepared, silent], 1..8);
    (begin, said).prop_map(|(begin, said)| [begin, said].concat())
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    vec(any::<prop::sample::Index>(), 0..40)
}

fn bytes_of<T>(found: &[(T, Vec<u8>)]) -> Vec<Vec<u8>> {
    found.iter().map(|(_, bytes)| bytes.clone()).collect()
}

proptest! {
    #[test]
    fn commands_of_redis_are_told_apart(commands in vec(command(), 1..8), cuts in cuts()) {
        let all = commands.concat();
        let split = requests(in_pieces(&all, &cuts), resp::request);
        prop_assert_eq!(&split, &requests(in_pieces(&all, &[]), resp::request));
        prop_assert_eq!(bytes_of(&split), commands);
    }

    #[test]
    fn replies_of_redis_are_told_apart(replies in vec(reply(), 1..8), cuts in cuts()) {
        let all = replies.concat();
        let split = parts(in_pieces(&all, &cuts), resp::part);
        prop_assert_eq!(&split, &parts(in_pieces(&all, &[]), resp::part));
        prop_assert_eq!(bytes_of(&split), replies);
    }

    #[test]
    fn requests_to_postgres_are_told_apart(said in session(), cuts in cuts()) {
        let all = said.concat();
        let [mut one, mut other] = [postgres::Session::default(), postgres::Session::default()];
        let split = requests(in_pieces(&all, &cuts), |bytes| one.request(bytes));
        prop_assert_eq!(&split, &requests(in_pieces(&all, &[]), |bytes| other.request(bytes)));
        prop_assert_eq!(bytes_of(&split), said.clone());
        for (request, bytes) in &split {
            let text = String::from_utf8_lossy(bytes).to_uppercase();
            let commits = text.contains("COMMIT") || text.contains("END");
            prop_assert_eq!(request.words.iter().any(|word| word == "COMMIT"), commits, "{}", text);
        }
    }

    #[test]
    fn messages_of_postgres_are_told_apart(
        bodies in vec((any::<u8>(), vec(any::<u8>(), 0..60)), 1..8),
        cuts in cuts(),
    ) {
        let messages: Vec<Vec<u8>> = bodies.iter().map(|(tag, body)| message(*tag, body)).collect();
        let all = messages.concat();
        let split = parts(in_pieces(&all, &cuts), postgres::part);
        prop_assert_eq!(&split, &parts(in_pieces(&all, &[]), postgres::part));
        prop_assert_eq!(bytes_of(&split), messages);
    }

    /// Whatever comes, it is a request, not yet one, or an error.
    #[test]
    fn noise_is_an_error_at_worst(bytes in vec(any::<u8>(), 0..200)) {
        let _ = (resp::request(&bytes), resp::part(&bytes), postgres::part(&bytes));
        let _ = postgres::Session::default().request(&bytes);
    }
}
