//! How much must have come before a socket wakes its reader (`SO_RCVLOWAT`).
//!
//! A large message comes in pieces of some 64 KiB, and the kernel tells of each: a task is woken, reads, and sleeps
//! again. Who knows how much is missing lets it tell of a few of them at a time. The end of the stream wakes
//! always, and so does a window that has no room for more (Linux 4.18; short of memory, or with many small segments, 5.9).

use std::os::fd::AsFd;

use nix::sys::socket::setsockopt;
use nix::{libc, setsockopt_impl, sockopt_impl};

/// What is worth waiting for at once: at most so much lies unread ...
const MOST_BYTES: usize = 512 << 10;
/// ... and less than this is not worth the call.
const LEAST_BYTES: usize = 64 << 10;
/// As sockets are made: any byte wakes.
const LOWEST: usize = 1;

sockopt_impl!(
    /// Least number of bytes that make a socket readable.
    ReceiveLowWater,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_RCVLOWAT,
    i32
);

/// The mark of one socket, which nobody else moves.
#[derive(Debug)]
pub struct LowWater {
    bytes: usize,
}

impl Default for LowWater {
    fn default() -> Self {
        Self { bytes: LOWEST }
    }
}

impl LowWater {
    /// To be told before each wait: `missing` bytes of what is being received have not come, 0 if nothing is.
    pub fn expect(&mut self, socket: &impl AsFd, missing: usize) {
        let wanted = match missing {
            LEAST_BYTES.. => missing.min(MOST_BYTES),
            _ => LOWEST,
        };
        // Above what is missing it would never be reached.
        if self.bytes > missing.max(LOWEST) || self.bytes < wanted {
            self.set(socket, wanted);
        }
    }

    /// Whatever has come wakes at once. Says whether it did so before.
    pub fn lower(&mut self, socket: &impl AsFd) -> bool {
        let was_lowest = self.bytes == LOWEST;
        if !was_lowest {
            self.set(socket, LOWEST);
        }
        was_lowest
    }

    fn set(&mut self, socket: &impl AsFd, bytes: usize) {
        self.bytes = bytes;
        // Only fewer wakes: a socket that does not take it is read piece by piece.
        let _ = setsockopt(socket, ReceiveLowWater, &i32::try_from(bytes).unwrap_or(1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_millis(50);

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let near = TcpStream::connect(address).await.expect("it listens");
        let far = listener.accept().await.expect("it came").0;
        // A socket may count as readable before anybody has looked.
        assert!(near.try_read(&mut [0]).is_err(), "nothing has come");
        (far, near)
    }

    async fn wakes(socket: &TcpStream, within: Duration) -> bool {
        timeout(within, socket.readable()).await.is_ok()
    }

    #[tokio::test]
    async fn who_misses_much_is_woken_for_much() {
        let (mut far, near) = pair().await;
        let mut mark = LowWater::default();
        mark.expect(&near, 80 << 10);
        far.write_all(&[0; 40 << 10]).await.expect("taken");
        assert!(!wakes(&near, MOMENT).await, "half of it");
        far.write_all(&[0; 40 << 10]).await.expect("taken");
        assert!(wakes(&near, SOON).await, "all of it");
    }

    #[tokio::test]
    async fn a_mark_that_is_lowered_wakes_for_what_has_come() {
        let (mut far, near) = pair().await;
        let mut mark = LowWater::default();
        mark.expect(&near, 10 << 20);
        far.write_all(&[0; 1000]).await.expect("taken");
        assert!(!wakes(&near, MOMENT).await);
        assert!(!mark.lower(&near));
        assert!(wakes(&near, SOON).await);
        assert!(mark.lower(&near));
    }

    #[tokio::test]
    async fn the_end_wakes() {
        let (mut far, near) = pair().await;
        LowWater::default().expect(&near, 10 << 20);
        far.write_all(&[0; 1000]).await.expect("taken");
        assert!(!wakes(&near, MOMENT).await, "not for that");
        drop(far);
        assert!(wakes(&near, SOON).await);
    }

    #[tokio::test]
    async fn more_than_the_window_holds_wakes_when_it_is_full() {
        let (mut far, near) = pair().await;
        let mut mark = LowWater::default();
        let writes = tokio::spawn(async move { far.write_all(&vec![0; 32 << 20]).await });
        let mut left = 32 << 20;
        while left > 0 {
            mark.expect(&near, left);
            assert!(wakes(&near, SOON).await, "{left} bytes missing");
            let mut buffer = vec![0; 1 << 20];
            left -= near.try_read(&mut buffer).unwrap_or(0);
        }
        writes.await.expect("no panic").expect("taken");
    }

    #[tokio::test]
    async fn nothing_is_asked_for_that_will_not_come() {
        let (mut far, near) = pair().await;
        let mut mark = LowWater::default();
        mark.expect(&near, 100 << 10);
        mark.expect(&near, 10);
        far.write_all(&[0; 10]).await.expect("taken");
        assert!(wakes(&near, SOON).await);
    }
}
