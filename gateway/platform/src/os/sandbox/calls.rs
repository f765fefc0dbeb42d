//! System calls that are ways around Landlock, refused by seccomp.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Refused whatever is asked of them. `io_uring` opens sockets that no filter sees; others reach the kernel, its keys, files
/// without a path, or the memory and queues that other programs of this user share.
const NEVER: [libc::c_long; 21] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
];

/// The bit of system calls of the x32 ABI, which the kernel of a 64 bit machine may know as well.
#[cfg(target_arch = "x86_64")]
const X32: libc::c_long = 0x4000_0000;

/// The filter. Unix sockets are refused in any case: a service manager, a container daemon or a key agent at one would do
/// outside what the program may not do. With the network only the internet's sockets are left, and routing's.
///
/// # Errors
/// There is none for this machine's processor.
pub fn filter(network: bool) -> Result<BpfProgram, String> {
    compile(network).map_err(|e| format!("no filter of system calls for {}: {e}", std::env::consts::ARCH))
}

fn compile(network: bool) -> Result<BpfProgram, seccompiler::BackendError> {
    // A call without a rule is refused always.
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = NEVER.into_iter().map(|call| (call, vec![])).collect();
    let sockets = if network {
        let (v4, v6, netlink) = (libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK);
        let others = [v4, v6, netlink].map(|family| when(0, SeccompCmpOp::Ne, family));
        let not_routing = [when(0, SeccompCmpOp::Eq, netlink), when(2, SeccompCmpOp::Ne, libc::NETLINK_ROUTE)];
        vec![all_of(others)?, all_of(not_routing)?]
    } else {
        vec![]
    };
    rules.insert(libc::SYS_socket, sockets);
    // Limits of other processes of this user.
    rules.insert(libc::SYS_prlimit64, vec![all_of([when(0, SeccompCmpOp::Ne, 0)])?]);
    #[cfg(target_arch = "x86_64")]
    for (call, rule) in rules.clone() {
        rules.insert(call | X32, rule);
    }
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, refused, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// Arguments of 32 bits: the kernel looks at no more of them.
fn when(
    argument: u8,
    operator: SeccompCmpOp,
    value: libc::c_int,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, u64::from(value.cast_unsigned()))
}

fn all_of<const N: usize>(
    conditions: [Result<SeccompCondition, seccompiler::BackendError>; N],
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}
