//! The bare loop that other servers are compared with. `limit --help` tells more.

#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use compare::limit::Limit;

const HELP: &str = "\
Answers whatever it receives with a constant: what gitops-status-server would answer a GET for a status with. It parses
nothing and does as little as a server can: wait, receive, send. What is faster is no server.

Usage: limit --listen IP:PORT --body FILE

  --listen IP:PORT  where to listen; port 0 is any free port
  --body FILE       the status

It serves GETs on kept connections, one at a time on each: whatever one read gives is taken for one request. It knows no
pipelining, no `Connection: close` and no bodies of requests. It says on standard error where it listens, and serves
until it is killed.
";

const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let (listen, body) = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("limit: {error}; see --help");
            return ExitCode::from(BAD_USAGE);
        }
    };
    let serve = || -> io::Result<()> {
        let mut limit = Limit::start(listen, &body)?;
        eprintln!("listening on {}", limit.address()?);
        limit.run()
    };
    if let Err(error) = serve() {
        eprintln!("limit: {listen}: {error}");
        return ExitCode::from(FAILED);
    }
    ExitCode::SUCCESS
}

fn options() -> Result<Option<(SocketAddr, Vec<u8>)>, String> {
    let mut parser = lexopt::Parser::from_env();
    let (mut listen, mut body) = (None, None);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => return Ok(None),
            lexopt::Arg::Long("listen") => {
                let value = parser.value().map_err(|error| error.to_string())?;
                let address = value.to_str().and_then(|text| text.parse().ok());
                listen = Some(address.ok_or_else(|| format!("--listen takes IP:PORT, not {}", value.display()))?);
            }
            lexopt::Arg::Long("body") => {
                let path = parser.value().map_err(|error| error.to_string())?;
                let read = std::fs::read(&path);
                body = Some(read.map_err(|error| format!("--body: cannot read {}: {error}", path.display()))?);
            }
            argument => return Err(argument.unexpected().to_string()),
        }
    }
    let listen = listen.ok_or("--listen IP:PORT is missing")?;
    Ok(Some((listen, body.ok_or("--body FILE is missing")?)))
}
