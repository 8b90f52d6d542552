//! How long an answer takes over the loopback, from a client's first byte to its last one, of the program as it is
//! built for a release: connections one at a time, so that nobody waits for anybody.
//!
//! `cargo bench --bench loopback` measures; behind `--` a part of a name chooses, and `--test` only shows that all
//! works. `TEST_PROGRAM=/path/to/it` measures another program, say the static one.

#[path = "../tests/common/mod.rs"]
mod common;
mod inputs;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::{PATIENCE, Server, own_address, program};
use criterion::{Criterion, criterion_group, criterion_main};

criterion_main!(all);
criterion_group! { name = all; config = inputs::brief(); targets = loopback }

fn loopback(criterion: &mut Criterion) {
    let address = own_address();
    // A line for each post would be measured too, where it is read.
    let server = Server::start_at(program().args(["--log", "error", "--listen"]).arg(address.to_string()), address);
    let status = inputs::status(1 << 10);
    let (get, post) = (inputs::get(), inputs::post(&status));
    assert_eq!(server.post(&status).code, 200);
    assert_eq!(server.get("/status.json").content, status);

    let mut group = criterion.benchmark_group("loopback");
    for (name, request) in [("GET of 1 KiB", &get), ("POST of 1 KiB", &post)] {
        let mut kept = Plain::connect(address);
        group.bench_function(format!("{name}, kept"), |bencher| bencher.iter(|| kept.ask(request)));
        group.bench_function(format!("{name}, new connection"), |bencher| {
            bencher.iter(|| Plain::connect(address).ask(request));
        });
    }
}

/// A client that does as little as can be: it is measured too.
struct Plain {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Plain {
    fn connect(address: SocketAddr) -> Plain {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Plain { stream, buffer: vec![0; 4096] }
    }

    /// Sends a request, whose answer is a 200 that ends with a status, and reads that.
    fn ask(&mut self, request: &[u8]) {
        self.stream.write_all(request).expect("the server reads");
        let mut read = 0;
        loop {
            let more = self.stream.read(&mut self.buffer[read..]).expect("the server answers");
            assert!(more > 0, "the connection ended within an answer");
            read += more;
            if self.buffer[..read].ends_with(b"}") {
                break;
            }
        }
        assert!(self.buffer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}
