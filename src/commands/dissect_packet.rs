//! `netrewind dissect-packet`: becomes the program that takes a packet apart, confined; started by netrewind itself.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use netrewind_filter::{RunningWorker, StartWorker};
use netrewind_http::dissector::{
    CPU_SECONDS_MAX, DISSECTOR_SUBCOMMAND, Dissector, FRAME_ID, MEMORY_BYTES_MAX, REQUEST_BYTES_MAX,
};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::broker::SHARKD_OPTION;
use crate::confine::Walls;
use crate::outcome::{Failure, Outcome};

/// Makes this the first process to be killed when memory runs out: proc_pid_oom_score_adj(5).
const OOM_SCORE: (&str, &str) = ("/proc/self/oom_score_adj", "1000");
/// Open files of the program.
const FILES_MAX: u64 = 128;
/// Variables of the program: nobody's settings, and no time zone but the recording's.
const VARIABLES: [(&str, &str); 4] =
    [("HOME", "/nonexistent"), ("XDG_CONFIG_HOME", "/nonexistent"), ("TZ", "UTC"), ("LC_ALL", "C.UTF-8")];

/// Arguments of `netrewind dissect-packet`.
#[derive(Debug, clap::Args)]
pub struct DissectPacketArguments {
    /// Wireshark's sharkd
    #[arg(long = SHARKD_OPTION, value_name = "PATH")]
    sharkd: PathBuf,
}

/// Dissectors that are children of this process, which may start some.
pub fn own_dissector(sharkd: PathBuf) -> Option<Dissector> {
    let program = std::env::current_exe().ok()?;
    Some(Dissector::new(Arc::new(OwnDissectors { program, sharkd })))
}

#[derive(Debug)]
struct OwnDissectors {
    program: PathBuf,
    sharkd: PathBuf,
}

impl StartWorker for OwnDissectors {
    fn program(&self) -> PathBuf {
        self.program.clone()
    }

    fn start(&self, request: OwnedFd, answer: OwnedFd) -> io::Result<Box<dyn RunningWorker>> {
        let mut command = Command::new(&self.program);
        command.arg(DISSECTOR_SUBCOMMAND).arg(format!("--{SHARKD_OPTION}")).arg(&self.sharkd);
        Ok(Box::new(command.stdin(request).stdout(answer).stderr(Stdio::null()).spawn()?))
    }
}

/// Reads a request on standard input: the number of a packet in a line, then a capture file. The program finds both in memory.
pub fn run(arguments: &DissectPacketArguments) -> Result<Outcome, Failure> {
    // If that fails, its memory limit still holds.
    let _ = std::fs::write(OOM_SCORE.0, OOM_SCORE.1);
    let mut request = Vec::new();
    io::stdin().lock().take(REQUEST_BYTES_MAX).read_to_end(&mut request)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not a request for the dissector");
    let end = request.iter().position(|byte| *byte == b'\n').ok_or_else(malformed)?;
    let (line, capture) = request.split_at(end + 1);
    let number = std::str::from_utf8(line).ok().and_then(|line| line.trim_end().parse::<u64>().ok());
    let number = number.ok_or_else(malformed)?;
    // No other program is started, so that it may stay open.
    let capture = in_memory("capture", capture, MemfdFlags::empty())?;
    let path = format!("/proc/self/fd/{}", capture.as_raw_fd());
    let wanted = FRAME_ID;
    let commands = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"load\",\"params\":{{\"file\":\"{path}\"}}}}\n\
         {{\"jsonrpc\":\"2.0\",\"id\":{wanted},\"method\":\"frame\",\"params\":{{\"frame\":{number},\"proto\":true,\"bytes\":true}}}}\n\
         {{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"bye\"}}\n"
    );
    let commands = in_memory("commands", commands.as_bytes(), MemfdFlags::CLOEXEC)?;
    let mut program = Command::new(&arguments.sharkd);
    program.arg("-").env_clear().envs(VARIABLES).stdin(commands).stderr(Stdio::null());
    std::env::set_current_dir("/")?;
    limit_this_process()?;
    // The process that asks says what is missing.
    Walls::new().becoming(&arguments.sharkd).raise();
    Err(Failure::Failed(anyhow::Error::from(program.exec()).context(arguments.sharkd.display().to_string())))
}

/// A file that nobody else sees, at its beginning.
fn in_memory(name: &str, bytes: &[u8], flags: MemfdFlags) -> io::Result<File> {
    let mut file = File::from(memfd_create(name, flags)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// Out of time it ends by a signal, out of memory by an abort; it writes no file.
fn limit_this_process() -> io::Result<()> {
    let limit = |resource, soft, hard| {
        setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) }).map_err(io::Error::from)
    };
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, 0, 0)?;
    limit(Resource::Nofile, FILES_MAX, FILES_MAX)?;
    limit(Resource::Cpu, CPU_SECONDS_MAX, CPU_SECONDS_MAX + 1)?;
    limit(Resource::As, MEMORY_BYTES_MAX, MEMORY_BYTES_MAX)
}
