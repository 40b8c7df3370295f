//! A caller that writes its own bytes.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::gateway::PATIENCE;

/// One connection to the gateway.
pub struct Socket(BufReader<TcpStream>);

impl Socket {
    /// Connects.
    pub async fn to(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// Connects and writes this.
    pub async fn saying(address: SocketAddr, bytes: &str) -> Self {
        let mut socket = Self::to(address).await;
        socket.write(bytes).await;
        socket
    }

    /// Writes this.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).await.unwrap();
    }

    /// No more will be written.
    pub async fn finish(&mut self) {
        self.0.get_mut().shutdown().await.unwrap();
    }

    /// The next line, without its end; empty at the end of a head, or of the connection.
    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.unwrap().unwrap();
        line.trim_end().to_owned()
    }

    /// A head: the status line and the fields, names in lower case.
    pub async fn head(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return lines;
            }
            lines.push(match line.split_once(':') {
                Some((name, value)) => format!("{}:{value}", name.to_ascii_lowercase()),
                None => line,
            });
        }
    }

    /// So many bytes.
    pub async fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        timeout(PATIENCE, self.0.read_exact(&mut bytes)).await.unwrap().unwrap();
        bytes
    }

    /// Everything until the gateway closes.
    pub async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await.unwrap().unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
