//! A wire between a server and PostgreSQL that loses one answer when a story says so.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// PostgreSQL's protocol for it. The driver sends it by itself, so it is what one read reads.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// What becomes of the next COMMIT.
#[derive(Clone, Copy, Default, PartialEq)]
enum Loss {
    #[default]
    None,
    Answer,
    Everything,
}

/// Passes everything on, both ways, until a COMMIT is to be lost. Dropped, it is cut.
pub struct Wire {
    url: String,
    next_commit: Arc<Mutex<Loss>>,
    _open: JoinSet<()>,
}

impl Wire {
    /// A wire to the database that this URL names.
    pub async fn to(url: &str) -> Wire {
        let (user, rest) = url.split_once('@').expect("a URL of the tests names its user");
        let (server, database) = rest.split_once('/').expect("a URL names its database");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{user}@{}/{database}", listener.local_addr().unwrap());
        let next_commit = Arc::new(Mutex::default());
        let mut open = JoinSet::new();
        open.spawn(accept(listener, server.to_owned(), next_commit.clone()));
        Wire { url, next_commit, _open: open }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The database does the next COMMIT, and nobody hears of it: the connection breaks before the answer.
    pub fn lose_next_commit(&self) {
        *self.next_commit.lock().unwrap() = Loss::Answer;
    }

    /// From the next COMMIT on its connection is dead, and nobody is told: as if the machine behind it were gone.
    pub fn fall_silent_at_next_commit(&self) {
        *self.next_commit.lock().unwrap() = Loss::Everything;
    }
}

async fn accept(listener: TcpListener, server: String, next_commit: Arc<Mutex<Loss>>) {
    let mut open = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(&server).await.unwrap();
        let next_commit = next_commit.clone();
        open.spawn(async move { drop(pass(client, server, &next_commit).await) });
    }
}

/// One connection: over for both when it is over for one.
async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    next_commit: &Mutex<Loss>,
) -> std::io::Result<()> {
    let (mut said, mut answered) = ([0; 8_192], [0; 8_192]);
    loop {
        tokio::select! {
            length = client.read(&mut said) => {
                let said = &said[..length?];
                let is_commit = said == COMMIT;
                let loss = if is_commit { std::mem::take(&mut *next_commit.lock().unwrap()) } else { Loss::None };
                if loss == Loss::Everything {
                    std::future::pending::<()>().await;
                }
                server.write_all(said).await?;
                if loss == Loss::Answer {
                    // It is done when the answer is here; the answer goes no further.
                    return server.read(&mut answered).await.map(drop);
                }
                if said.is_empty() { return Ok(()) }
            }
            length = server.read(&mut answered) => {
                let answered = &answered[..length?];
                client.write_all(answered).await?;
                if answered.is_empty() { return Ok(()) }
            }
        }
    }
}
