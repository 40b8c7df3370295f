//! Arguments to exit code.
//! It never decides anything: `cli` does.

use std::process::ExitCode;

use clap::Parser;
use genesys_proxy::cli::Cli;

/// The slow side: minting, pacing, admin. The hot side brings its own runtimes.
const SLOW_THREADS: usize = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SLOW_THREADS)
        .thread_name("slow")
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("genesys-proxy: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(cli.run());
    // Not waited for: a resolver or a disk that hangs must not hang the end.
    runtime.shutdown_background();
    match code {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("genesys-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
