//! Bytes on a socket: requests as no client would send them, and what comes back.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One blocking connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
}

/// How a connection answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// One frame, without its length.
    Frame(Vec<u8>),
    /// The peer closed the connection.
    Closed,
    /// Nothing within the time.
    Silence,
}

impl Raw {
    /// Connects to `host:port`.
    #[must_use]
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        stream.set_nodelay(true).expect("a TCP option");
        Self { stream }
    }

    /// Sends bytes as they are; what the peer thinks of them shows in [`Self::answer`].
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends one request: length, header version 1 (or 2 when `flexible`), body.
    pub fn request(
        &mut self,
        (key, version): (i16, i16),
        correlation: i32,
        flexible: bool,
        body: &[u8],
    ) -> io::Result<()> {
        let mut frame = Vec::new();
        frame.extend(key.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(correlation.to_be_bytes());
        frame.extend(3_i16.to_be_bytes());
        frame.extend(b"raw");
        if flexible {
            frame.push(0);
        }
        frame.extend(body);
        let length = i32::try_from(frame.len()).expect("a test's frame is small");
        self.send(&length.to_be_bytes())?;
        self.send(&frame)
    }

    /// The next frame, the end of the connection, or silence for `limit`.
    pub fn answer(&mut self, limit: Duration) -> Answer {
        self.stream
            .set_read_timeout(Some(limit))
            .expect("a limit above zero");
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return Answer::Silence;
            }
            Err(_) => return Answer::Closed,
        }
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap_or(0)];
        match self.stream.read_exact(&mut frame) {
            Ok(()) => Answer::Frame(frame),
            Err(_) => Answer::Closed,
        }
    }

    /// Whether the peer closes within `limit`; frames that come before are passed over.
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        loop {
            match self.answer(limit) {
                Answer::Frame(_) => {}
                Answer::Closed => return true,
                Answer::Silence => return false,
            }
        }
    }
}

/// A body of ApiVersions version 0 is empty: the cheapest sign of life.
pub fn is_alive(address: &str) -> bool {
    let mut raw = Raw::connect(address);
    raw.request((18, 0), 7, false, &[]).is_ok()
        && matches!(raw.answer(Duration::from_secs(20)), Answer::Frame(frame) if frame.starts_with(&[0, 0, 0, 7]))
}
