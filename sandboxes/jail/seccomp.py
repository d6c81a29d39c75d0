"""Assembles a seccomp filter to BPF: which system calls a job may make.

    names ─► a bitmap of allowed numbers, argument rules, a bitmap of fatal ones ─► BPF ─► one system call

Everything not allowed by name is refused with EPERM. Calls that change a file's mode, times or
attributes succeed without acting:
honest programs go on, and no job can lock another out or leave a mark. A few calls that no honest program makes
(ptrace, mounting, loading kernel code) end the process with SIGSYS, so that the result can name a violation. `clone3`
and numbers newer than the table answer ENOSYS, which makes libc fall back to calls whose arguments the filter can see.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Collection, Sequence
from typing import Literal

from berry.sandboxes.jail import syscalls
from berry.sandboxes.jail.numbers import AUDIT_ARCH, MACHINE, NEWEST_KNOWN, NUMBERS

Kind = Literal["python", "program", "tools"]
"""python: no exec, no fork; program: exec, no fork (C++, node); tools: exec and fork (shell, compilers)."""

ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS, SUCCEED = 0x00050001, 0x00050026, 0x00050000
"""Answers without making the call; SUCCEED answers as if it had been made."""
_LOAD, _LOAD_K, _JEQ, _JGE, _JSET, _JA, _RET = 0x20, 0x00, 0x15, 0x35, 0x45, 0x05, 0x06
_AND, _SHIFT, _SHIFT_BY_X, _TO_X = 0x54, 0x74, 0x7C, 0x07
_NR, _ARCH, _ARG0 = 0, 4, 16

CLONE_THREAD = 0x00010000
_CLONE_FILES = 0x00000400
_CLONE_FORBIDDEN = 0x7E020000 | 0x00008000 | 0x00002000  # all namespaces, PARENT, PTRACE

_ALLOWED = frozenset(
    """
    read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction
    rt_sigprocmask rt_sigreturn pread64 pwrite64 readv writev access pipe select sched_yield
    mremap msync mincore madvise dup dup2 pause nanosleep getitimer alarm setitimer getpid
    sendfile recvfrom recvmsg shutdown getsockname getpeername getsockopt exit wait4 uname flock
    fsync fdatasync truncate ftruncate getdents getcwd chdir fchdir rename mkdir rmdir creat
    link unlink symlink readlink umask gettimeofday getrlimit getrusage sysinfo times getuid
    getgid geteuid getegid getppid getpgrp getgroups getresuid getresgid getpgid getsid capget
    rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack statfs fstatfs getpriority
    sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min
    sched_rr_get_interval arch_prctl setrlimit gettid readahead futex sched_getaffinity
    getdents64 set_tid_address restart_syscall fadvise64 timer_create timer_settime
    timer_gettime timer_getoverrun timer_delete clock_gettime clock_getres clock_nanosleep
    exit_group epoll_wait epoll_ctl waitid openat mkdirat newfstatat unlinkat renameat linkat
    symlinkat readlinkat faccessat pselect6 ppoll set_robust_list get_robust_list splice tee
    epoll_pwait signalfd timerfd_create eventfd timerfd_settime timerfd_gettime signalfd4
    eventfd2 epoll_create epoll_create1 dup3 pipe2 preadv pwritev getcpu renameat2 getrandom
    membarrier copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx rseq
    close_range faccessat2 epoll_pwait2 get_mempolicy futex_waitv getxattr lgetxattr fgetxattr
    sched_getattr listxattr llistxattr flistxattr
    """.split()  # noqa: SIM905
)
_KILLED = frozenset(
    """
    ptrace process_vm_readv process_vm_writev bpf perf_event_open userfaultfd io_uring_setup
    io_uring_enter io_uring_register init_module finit_module delete_module kexec_load
    kexec_file_load mount umount2 move_mount open_tree fsopen mount_setattr pivot_root chroot
    unshare setns keyctl add_key request_key reboot swapon swapoff acct open_by_handle_at kcmp
    pidfd_getfd
    """.split()  # noqa: SIM905
)
# Without F_SETOWN and F_SETSIG, with which the kernel can be made to signal another process.
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1034)
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, WINSZ, FIONREAD, FIONBIO, FIO(N)CLEX
_PRCTL = (3, 15, 16)  # GET_DUMPABLE, SET_NAME, GET_NAME; never PDEATHSIG
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE_MASK = 1, 1, 0xF
_BUFFER_SIZES = (7, 8, 32, 33)  # SO_SNDBUF, SO_RCVBUF and their privileged forms
_ATTRIBUTES = ("chmod", "fchmod", "fchmodat", "utime", "utimes", "futimesat", "utimensat", "setxattr", "lsetxattr",
               "fsetxattr", "removexattr", "lremovexattr", "fremovexattr")  # fmt: skip
"""Calls that change what a file's entry says of it."""
_SLOT_CALLS = ("memfd_create", "pidfd_open", "kill", "setpgid", "prlimit64", "landlock_restrict_self", "seccomp",
               "sendmsg", *_ATTRIBUTES)  # fmt: skip

Code = list[tuple[int, int, int, int]]


def _ret(action: int) -> Code:
    return [(_RET, 0, 0, action)]


def _arg(index: int) -> tuple[int, int, int, int]:
    return (_LOAD, 0, 0, _ARG0 + 8 * index)


def _one_of(index: int, values: Sequence[int], otherwise: int = EPERM) -> Code:
    """Allow when the low 32 bits of an argument (the kernel reads no more of these) are among `values`."""
    code: Code = [_arg(index)]
    for value in values:
        code += [(_JEQ, 0, 1, value), (_RET, 0, 0, ALLOW)]
    return code + _ret(otherwise)


def _none_of(index: int, values: Sequence[int]) -> Code:
    """Allow unless the low 32 bits of an argument are among `values`."""
    code: Code = [_arg(index)]
    for value in values:
        code += [(_JEQ, 0, 1, value), *_ret(EPERM)]
    return code + _ret(ALLOW)


def _stream_pair() -> Code:
    """Pairs of stream sockets of this machine alone: a datagram socket could send to any path that it may write."""
    code: Code = [_arg(0), (_JEQ, 1, 0, _AF_UNIX), *_ret(EPERM), _arg(1), (_AND, 0, 0, _SOCK_TYPE_MASK)]
    return [*code, (_JEQ, 0, 1, _SOCK_STREAM), *_ret(ALLOW), *_ret(EPERM)]


def _without_address() -> Code:
    """Allow `sendto` without an address (`send`), whose two halves must both be zero."""
    low, high = (_LOAD, 0, 0, _ARG0 + 8 * 4), (_LOAD, 0, 0, _ARG0 + 8 * 4 + 4)
    return [low, (_JEQ, 1, 0, 0), *_ret(EPERM), high, (_JEQ, 1, 0, 0), *_ret(EPERM), *_ret(ALLOW)]


def _thread_only() -> Code:
    """Threads that share their descriptors with the rest: each table of its own could hold as many again."""
    return [_arg(0), (_JSET, 0, 1, _CLONE_FORBIDDEN), *_ret(EPERM), (_JSET, 1, 0, CLONE_THREAD), *_ret(EPERM),
            (_JSET, 1, 0, _CLONE_FILES), *_ret(EPERM), *_ret(ALLOW)]  # fmt: skip


def _fork_without_namespaces() -> Code:
    return [_arg(0), (_JSET, 0, 1, _CLONE_FORBIDDEN), *_ret(EPERM), *_ret(ALLOW)]


def _rules(kind: Kind, *, signals_contained: bool) -> dict[str, Code]:
    """Lists the calls that are allowed by their arguments, or whose answer depends on the kind of job."""
    rules = {
        "fcntl": _one_of(1, _FCNTL),
        "ioctl": _one_of(1, _IOCTL),
        "prctl": _one_of(0, _PRCTL),
        "socketpair": _stream_pair(),
        "sendto": _without_address(),
        "setsockopt": _none_of(2, _BUFFER_SIZES),
        "prlimit64": _one_of(0, (0,)),
        "clone": _thread_only(),
        "clone3": _ret(ENOSYS),
    }
    rules |= {name: _ret(SUCCEED) for name in _ATTRIBUTES}
    if kind != "python":
        rules["execve"] = rules["execveat"] = _ret(ALLOW)
    if kind == "tools":
        rules["clone"] = _fork_without_namespaces()
        rules |= {name: _ret(ALLOW) for name in ("fork", "vfork", "setpgid", "setsid")}
        if signals_contained:
            rules["kill"] = rules["tgkill"] = _ret(ALLOW)
    return rules


def _slot_rules(rules: dict[str, Code]) -> dict[str, Code]:
    """Adds to the rules what a slot does itself: fork, confine, watch and kill its children."""
    by_name = dict.fromkeys(_SLOT_CALLS, _ret(ALLOW))
    by_argument = {
        "clone": _fork_without_namespaces(),
        "prctl": _one_of(0, (*_PRCTL, syscalls.PR_SET_PDEATHSIG)),
    }
    return rules | by_name | by_argument


def _bitmap(names: Collection[str], action: int) -> Code:
    """Returns `action` for the numbers of `names`, else falls through. Expects the number's low five bits in
    X."""
    words: dict[int, int] = {}
    for number in (NUMBERS[name] for name in names if name in NUMBERS):
        words[number >> 5] = words.get(number >> 5, 0) | 1 << (number & 31)
    code: Code = [(_LOAD, 0, 0, _NR), (_SHIFT, 0, 0, 5)]
    test: Code = [(_SHIFT_BY_X, 0, 0, 0), (_JSET, 0, 1, 1), *_ret(action)]
    for i, (word, mask) in enumerate(sorted(words.items())):
        to_test = 3 * (len(words) - 1 - i) + 1
        code += [(_JEQ, 0, 2, word), (_LOAD_K, 0, 0, mask), (_JA, 0, 0, to_test)]
    return [*code, (_JA, 0, 0, len(test)), *test]


class Filter:
    """An assembled filter, ready to be put on by any number of forks."""

    def __init__(self, code: bytes) -> None:
        self.code = code
        buffer = ctypes.create_string_buffer(code, len(code))
        self._program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
        self.load = syscalls.Bound("seccomp", 1, 0, self._program)  # SECCOMP_SET_MODE_FILTER
        """Confines the calling process, for good. Needs no_new_privs. Raises OSError."""
        self.load.kept = buffer


def build(kind: Kind, *, signals_contained: bool) -> Filter:
    """Builds the filter for a kind of job. `signals_contained`: a PID namespace or landlock keeps signals inside,
    so a shell may have `kill`. Raises OSError where the machine type is not known."""
    return _assemble(_rules(kind, signals_contained=signals_contained))


def build_layers(kind: Kind, *, signals_contained: bool) -> tuple[Filter, Filter]:
    """Builds the filter in two parts: one for a slot, which every child inherits with its checks done, and a short one
    on top with which a child gives up what only a slot may do. Installing a long filter takes longer than a short
    fork."""
    rules = _rules(kind, signals_contained=signals_contained)
    wider = _slot_rules(rules)
    given_up = {name: rules.get(name) for name in wider.keys() & NUMBERS.keys() if wider[name] != rules.get(name)}
    code: Code = [(_LOAD, 0, 0, _NR)]
    for name, rule in given_up.items():
        if rule:
            code += [(_JEQ, 0, len(rule), NUMBERS[name]), *rule]
    refused = sorted(NUMBERS[name] for name, rule in given_up.items() if not rule)
    code += [(_JEQ, len(refused) - i, 0, number) for i, number in enumerate(refused)]  # to the last line
    return _assemble(wider), _filter([*code, *_ret(ALLOW), *_ret(EPERM)])


def _assemble(rules: dict[str, Code]) -> Filter:
    if MACHINE not in AUDIT_ARCH:
        raise OSError(38, f"no seccomp table for machine type {MACHINE}")
    code: Code = [(_LOAD, 0, 0, _ARCH), (_JEQ, 1, 0, AUDIT_ARCH[MACHINE]), *_ret(KILL), (_LOAD, 0, 0, _NR)]
    if MACHINE == "x86_64":
        code += [(_JGE, 0, 1, 0x40000000), *_ret(KILL)]  # the x32 numbers would slip past the table
    code += [(_JGE, 0, 1, NEWEST_KNOWN), *_ret(ENOSYS), (_AND, 0, 0, 31), (_TO_X, 0, 0, 0)]
    code += [*_bitmap(_ALLOWED, ALLOW), (_LOAD, 0, 0, _NR)]
    for name, rule in rules.items():
        if name in NUMBERS:
            code += [(_JEQ, 0, len(rule), NUMBERS[name]), *rule]
    return _filter(code + _bitmap(_KILLED, KILL) + _ret(EPERM))


def _filter(code: Code) -> Filter:
    return Filter(b"".join(struct.pack("=HBBI", *i) for i in code))


def available() -> bool:
    """Whether the kernel takes filters (and knows KILL_PROCESS)."""
    try:
        syscalls.call("seccomp", 2, 0, struct.pack("=I", KILL))  # SECCOMP_GET_ACTION_AVAIL
    except OSError:
        return False
    return MACHINE in AUDIT_ARCH
