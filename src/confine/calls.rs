//! System calls: seccomp(2).
//!
//! A list of what is allowed, not of what is dangerous: the kernel grows. Whatever is not in it fails as on a kernel that lacks it
//! (ENOSYS), so that the C library and others take the way that they have for older kernels: glibc starts threads by clone(2) if
//! there is no clone3(2), whose flags no filter can see.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Memory, threads, time, signals, descriptors and files, as far as every command goes.
const ALWAYS: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_capget,
    libc::SYS_prctl,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_getcpu,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getrandom,
    libc::SYS_umask,
    libc::SYS_times,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_copy_file_range,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_flock,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    // Changes of files, where Landlock permits them.
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_mkdirat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_linkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
];

/// Older calls that newer architectures lack.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_unlink,
    libc::SYS_link,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_pipe,
    libc::SYS_dup2,
    libc::SYS_time,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_arch_prctl,
];
#[cfg(target_arch = "aarch64")]
const OLD: &[c_long] = &[libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLD: &[c_long] = &[];

/// Calls on sockets.
const SOCKETS: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
];

const RING: &[c_long] = &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Beginning of a program. Rights that it gives up it does not have any more.
const BECOMING: &[c_long] =
    &[libc::SYS_execve, libc::SYS_setresuid, libc::SYS_setresgid, libc::SYS_getresuid, libc::SYS_getresgid];

/// Calls of an ioctl(2) that put words into a terminal, which another program then reads as typed: ioctl_tty(2).
const TYPING: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// System calls that a process makes.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    families: Vec<i32>,
    has_ring: bool,
    /// Libraries are loaded, as those that look up names.
    loads: bool,
    /// Another program takes the place of this one: Landlock says which.
    becomes: bool,
}

impl Calls {
    /// Those of io_uring(7) as well.
    pub fn with_ring(self) -> Self {
        Self { has_ring: true, ..self }
    }

    /// Notifications to the service manager, and what a service says over sockets that it has.
    pub fn with_local_sockets(self) -> Self {
        self.with_families(&[libc::AF_UNIX])
    }

    /// Questions about the machine's interfaces.
    pub fn asking_for_interfaces(self) -> Self {
        self.with_families(&[libc::AF_UNIX, libc::AF_NETLINK])
    }

    /// Sockets on interfaces, as libpcap opens them.
    pub fn opening_interfaces(self) -> Self {
        let asking = self.asking_for_interfaces();
        asking.with_families(&[libc::AF_PACKET, libc::AF_INET])
    }

    /// Connections to other hosts, by their names.
    pub(super) fn looking_up_names(self) -> Self {
        let calls = self.with_families(&[libc::AF_UNIX, libc::AF_NETLINK, libc::AF_INET, libc::AF_INET6]);
        Self { loads: true, ..calls }
    }

    /// Those with which a program takes the place of this one and begins: no process more, and no network.
    pub(super) fn becoming_a_program(self) -> Self {
        Self { loads: true, becomes: true, ..self }
    }

    fn with_families(mut self, families: &[i32]) -> Self {
        self.families.extend(families);
        self
    }

    /// The rules of each call: one of them has to fit, if there are any.
    fn rules(&self) -> Result<BTreeMap<c_long, Vec<SeccompRule>>, seccompiler::BackendError> {
        let always = ALWAYS.iter().chain(OLD);
        let sockets = SOCKETS.iter().filter(|_| !self.families.is_empty());
        let ring = RING.iter().filter(|_| self.has_ring);
        let becoming = BECOMING.iter().filter(|_| self.becomes);
        let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
            always.chain(sockets).chain(ring).chain(becoming).map(|&call| (call, Vec::new())).collect();
        // Threads, but no processes.
        let thread = u64::try_from(libc::CLONE_THREAD).unwrap_or_default();
        rules.insert(libc::SYS_clone, vec![rule(&[(0, SeccompCmpOp::MaskedEq(thread), thread)])?]);
        let types = TYPING.map(|request| (1, SeccompCmpOp::Ne, request));
        rules.insert(libc::SYS_ioctl, vec![rule(&types)?]);
        let executable = u64::try_from(libc::PROT_EXEC).unwrap_or_default();
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            // No code but that of the program.
            let plain = rule(&[(2, SeccompCmpOp::MaskedEq(executable), 0)])?;
            rules.insert(call, if self.loads { Vec::new() } else { vec![plain] });
        }
        let family = |&family: &i32| rule(&[(0, SeccompCmpOp::Eq, u64::from(family.unsigned_abs()))]);
        let families = self.families.iter().map(family).collect::<Result<Vec<_>, _>>()?;
        if let Some(local) = families.first() {
            rules.insert(libc::SYS_socketpair, vec![local.clone()]);
            rules.insert(libc::SYS_socket, families);
        }
        Ok(rules)
    }
}

/// A rule of conditions on arguments: number of the argument, comparison, value.
fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = |(number, comparison, value): &(u8, SeccompCmpOp, u64)| {
        SeccompCondition::new(*number, SeccompCmpArgLen::Dword, comparison.clone(), *value)
    };
    SeccompRule::new(conditions.iter().map(condition).collect::<Result<_, _>>()?)
}

fn program(calls: &Calls) -> Result<BpfProgram, seccompiler::BackendError> {
    let refused = SeccompAction::Errno(u32::try_from(libc::ENOSYS).unwrap_or_default());
    SeccompFilter::new(calls.rules()?, refused, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?
        .try_into()
}

/// Leaves all threads of this process these calls. The error says that all are left, and why.
pub(super) fn confine(calls: &Calls) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("any system call can be made: seccomp: {error}");
    let program = program(calls).map_err(|error| failed(&error))?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_that_starts_programs_or_reaches_into_other_processes_is_in_a_list() {
        let all = Calls::default().with_ring().asking_for_interfaces().looking_up_names();
        let rules = all.rules().expect("rules");
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone3,
            libc::SYS_ptrace,
            libc::SYS_process_vm_writev,
            libc::SYS_kill,
            libc::SYS_pidfd_open,
            libc::SYS_mount,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_init_module,
            libc::SYS_symlinkat,
            libc::SYS_mknodat,
        ] {
            assert!(!rules.contains_key(&call), "{call}");
        }
        assert_eq!(rules[&libc::SYS_clone].len(), 1, "only threads");
        assert!(!Calls::default().rules().expect("rules").contains_key(&libc::SYS_socket));
    }
}
