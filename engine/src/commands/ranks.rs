//! The ranks of a run: this process and copies of it, a card each.

use std::io::Read;
use std::process::{Command, Stdio, exit};
use std::thread;

use falsetto_engine::train::{Device, Meeting, Products};

/// Tells a copy its rank and where the ranks meet: `RANK:MEETING`.
const VARIABLE: &str = "FALSETTO_RANK";

/// The card of this rank of so many. The first rank starts the others, and ends when one of them fails; they end with it.
pub fn open(count: usize, products: Products) -> Result<Device, String> {
    let (rank, meeting) = match std::env::var(VARIABLE) {
        Ok(told) => {
            let parts = told.split_once(':').and_then(|(rank, meeting)| {
                Some((rank.parse::<usize>().ok()?, meeting.parse::<Meeting>().ok()?))
            });
            end_with_the_first();
            parts.ok_or_else(|| format!("{VARIABLE} is set to {told:?}; it is for copies of a run"))?
        }
        Err(_) => {
            let meeting = Meeting::new().map_err(|error| error.to_string())?;
            for rank in 1..count {
                start(rank, meeting)?;
            }
            (0, meeting)
        }
    };
    Device::cuda_rank(rank, count, meeting, products).map_err(|error| error.to_string())
}

/// Starts a copy of this process. It says nothing unless it fails.
fn start(rank: usize, meeting: Meeting) -> Result<(), String> {
    let failed = move |error| format!("rank {rank} cannot be started: {error}");
    let program = std::env::current_exe().map_err(failed)?;
    let mut copy = Command::new(program);
    copy.args(std::env::args_os().skip(1)).env(VARIABLE, format!("{rank}:{meeting}"));
    let mut child =
        copy.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    // Open as long as this process is there.
    let open = child.stdin.take();
    thread::spawn(move || {
        let _open = open;
        let ended = child.wait_with_output();
        let said = match ended {
            Ok(output) if output.status.success() => return,
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        eprintln!("falsetto: rank {rank} failed: {}", said.lines().last().unwrap_or_default());
        exit(1);
    });
    Ok(())
}

/// Ends this process when the first rank is gone, which holds the other end of its input.
fn end_with_the_first() {
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        exit(1);
    });
}
