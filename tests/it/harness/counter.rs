//! A counter before a server at which each request of a stranger's program stops, until the story has decided what
//! becomes of it.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::Http;

/// Where the program comes instead of to the server. Dropped, it is closed.
pub struct Counter {
    address: SocketAddr,
    came: UnboundedReceiver<Asked>,
    _open: JoinSet<()>,
}

/// A request that waits at the counter.
pub struct Asked {
    message: Message,
    server: String,
    give: oneshot::Sender<Given>,
}

/// What the program hears of an answer.
enum Given {
    Whole(Vec<u8>),
    /// The connection breaks in the middle of it.
    Broken(Vec<u8>),
}

/// A request or an answer, as it stands on the wire.
pub struct Message {
    head: String,
    bytes: Vec<u8>,
}

impl Counter {
    pub async fn before(server: &Http) -> Counter {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = server.address().trim_start_matches("http://").to_owned();
        let (tell, came) = unbounded_channel();
        let mut open = JoinSet::new();
        open.spawn(accept(listener, server, tell));
        Counter { address, came, _open: open }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request, which has to be this one; `None` stands for the end of the program.
    pub async fn next(&mut self, line: &str) -> Asked {
        let asked = self.came.recv().await.expect("the counter is open");
        assert_eq!(asked.message.head.lines().next(), Some(&*format!("{line} HTTP/1.1")));
        asked
    }
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.message.header(name).unwrap_or_default()
    }

    /// The server answers it; returns the status.
    pub async fn pass(self) -> u16 {
        let answer = self.answer().await;
        let status = answer.status();
        self.give(answer.bytes);
        status
    }

    /// The server answers it, and the program never hears of it: its connection breaks. Returns the status.
    pub async fn lose_answer(self) -> u16 {
        self.answer().await.status()
    }

    /// The server answers it, and the connection breaks in the middle of the answer. Returns the status.
    pub async fn break_answer(self) -> u16 {
        let answer = self.answer().await;
        let status = answer.status();
        let middle = (answer.head.len() + answer.bytes.len()) / 2;
        let half = Given::Broken(answer.bytes[..middle].to_vec());
        assert!(self.give.send(half).is_ok(), "the program waits for its answer");
        status
    }

    /// It gets what the server said to somebody else.
    pub fn give(self, answer: impl Into<Vec<u8>>) {
        let answer = Given::Whole(answer.into());
        assert!(self.give.send(answer).is_ok(), "the program waits for its answer");
    }

    async fn answer(&self) -> Message {
        let mut server = TcpStream::connect(&self.server).await.unwrap();
        server.write_all(&self.message.bytes).await.unwrap();
        Message::read(&mut BufReader::new(server)).await.expect("the server answers")
    }
}

impl Message {
    /// The next one of a connection, if there is one.
    async fn read(stream: &mut BufReader<TcpStream>) -> Option<Message> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let message = Message { bytes: head.clone().into_bytes(), head };
        let length = message.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        Some(Message { bytes: [message.bytes, body].concat(), ..message })
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

async fn accept(listener: TcpListener, server: String, tell: UnboundedSender<Asked>) {
    let mut open = JoinSet::new();
    while let Ok((program, _)) = listener.accept().await {
        open.spawn(serve(BufReader::new(program), server.clone(), tell.clone()));
    }
}

/// One connection: over when an answer is lost, or when the program has no more to ask.
async fn serve(mut program: BufReader<TcpStream>, server: String, tell: UnboundedSender<Asked>) {
    while let Some(message) = Message::read(&mut program).await {
        let (give, given) = oneshot::channel();
        let asked = Asked { message, server: server.clone(), give };
        if tell.send(asked).is_err() {
            return;
        }
        let (answer, broken) = match given.await {
            Ok(Given::Whole(answer)) => (answer, false),
            Ok(Given::Broken(half)) => (half, true),
            Err(_) => return,
        };
        if program.write_all(&answer).await.is_err() || broken {
            return;
        }
    }
}
