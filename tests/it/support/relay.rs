//! A cable to a server, which can be cut and mended: for one gateway, while others reach the server.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cable {
    /// Every byte passes.
    Whole,
    /// None does, and no connection ends: as behind a cable that was cut.
    Hangs,
    /// Those that are open now hang for ever, and new ones are whole: as behind a firewall that began
    /// anew.
    Forgets,
    /// They are reset, new ones too.
    Resets,
}

/// Before one server, as long as it lives.
pub struct Relay {
    pub address: SocketAddr,
    cable: watch::Sender<Cable>,
    _serving: JoinSet<()>,
}

impl Relay {
    /// To a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cable = watch::Sender::new(Cable::Whole);
        let seen = cable.subscribe();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut pipes = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                pipes.spawn(pipe(stream, port, seen.clone()));
            }
        });
        Self { address, cable, _serving: serving }
    }

    /// From now on, for all connections.
    pub fn is(&self, cable: Cable) {
        self.cable.send_replace(cable);
    }
}

async fn pipe(mut stream: TcpStream, port: u16, mut cable: watch::Receiver<Cable>) {
    let now = *cable.borrow_and_update();
    if matches!(now, Cable::Whole | Cable::Forgets) {
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        tokio::select! {
            // However it ends is the peers' business.
            _ = copy_bidirectional(&mut stream, &mut server) => return,
            _ = cable.changed() => {}
        }
        if *cable.borrow_and_update() == Cable::Forgets {
            std::future::pending::<()>().await;
        }
    }
    while *cable.borrow_and_update() == Cable::Hangs {
        // What was in the cable when it was cut does not come out when it is mended.
        if cable.changed().await.is_err() {
            return;
        }
    }
    // With a reset in place of an end.
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}
