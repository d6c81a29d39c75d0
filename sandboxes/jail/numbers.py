"""Lists system call numbers by name, for the two machine types that the jail knows.

Taken from the kernel's own headers (`asm/unistd_64.h`, `asm-generic/unistd.h`); these numbers never change.
A name that a machine lacks is simply absent: seccomp rules skip it.
"""

from __future__ import annotations

import os

X86_64 = """
read=0 write=1 open=2 close=3 stat=4 fstat=5 lstat=6 poll=7 lseek=8 mmap=9 mprotect=10 munmap=11 brk=12
rt_sigaction=13 rt_sigprocmask=14 rt_sigreturn=15 pread64=17 pwrite64=18 readv=19 writev=20 access=21
pipe=22 select=23 sched_yield=24 mremap=25 msync=26 mincore=27 madvise=28 dup=32 dup2=33 pause=34
nanosleep=35 getitimer=36 alarm=37 setitimer=38 getpid=39 sendfile=40 sendto=44 recvfrom=45 sendmsg=46
recvmsg=47 shutdown=48 getsockname=51 getpeername=52 setsockopt=54 getsockopt=55 exit=60 wait4=61
uname=63 flock=73 fsync=74 fdatasync=75 truncate=76 ftruncate=77 getdents=78 getcwd=79 chdir=80
fchdir=81 rename=82 mkdir=83 rmdir=84 creat=85 link=86 unlink=87 symlink=88 readlink=89 chmod=90
fchmod=91 umask=95 gettimeofday=96 getrlimit=97 getrusage=98 sysinfo=99 times=100 getuid=102 getgid=104
geteuid=107 getegid=108 getppid=110 getpgrp=111 getgroups=115 getresuid=118 getresgid=120 getpgid=121
getsid=124 capget=125 rt_sigpending=127 rt_sigtimedwait=128 rt_sigsuspend=130 sigaltstack=131 utime=132
statfs=137 fstatfs=138 getpriority=140 sched_getparam=143 sched_getscheduler=145
sched_get_priority_max=146 sched_get_priority_min=147 sched_rr_get_interval=148 arch_prctl=158
setrlimit=160 gettid=186 readahead=187 futex=202 sched_getaffinity=204 getdents64=217
set_tid_address=218 restart_syscall=219 fadvise64=221 timer_create=222 timer_settime=223
timer_gettime=224 timer_getoverrun=225 timer_delete=226 clock_gettime=228 clock_getres=229
clock_nanosleep=230 exit_group=231 epoll_wait=232 epoll_ctl=233 utimes=235 waitid=247 openat=257
mkdirat=258 newfstatat=262 unlinkat=263 renameat=264 linkat=265 symlinkat=266 readlinkat=267
fchmodat=268 faccessat=269 pselect6=270 ppoll=271 set_robust_list=273 get_robust_list=274 splice=275
tee=276 utimensat=280 futimesat=261 epoll_pwait=281 signalfd=282 timerfd_create=283 eventfd=284 timerfd_settime=286
timerfd_gettime=287 signalfd4=289 eventfd2=290 epoll_create=213 epoll_create1=291 dup3=292 pipe2=293
preadv=295 pwritev=296 getcpu=309 renameat2=316 getrandom=318 membarrier=324 copy_file_range=326
preadv2=327 pwritev2=328 pkey_mprotect=329 pkey_alloc=330 pkey_free=331 statx=332 rseq=334
close_range=436 faccessat2=439 process_madvise=440 epoll_pwait2=441 get_mempolicy=239 mlock=149 munlock=150
inotify_init1=294 openat2=437 futex_waitv=449 getxattr=191 lgetxattr=192 fgetxattr=193
setxattr=188 lsetxattr=189 fsetxattr=190 listxattr=194 llistxattr=195 flistxattr=196 removexattr=197
lremovexattr=198 fremovexattr=199 sched_getattr=315
prctl=157 ioctl=16 fcntl=72 kill=62 tgkill=234 tkill=200 clone=56 clone3=435 socketpair=53 prlimit64=302
execve=59 execveat=322 fork=57 vfork=58 setpgid=109 setsid=112 ptrace=101 process_vm_readv=310
process_vm_writev=311 bpf=321 perf_event_open=298 userfaultfd=323 io_uring_setup=425 io_uring_enter=426
io_uring_register=427 init_module=175 finit_module=313 delete_module=176 kexec_load=246
kexec_file_load=320 mount=165 umount2=166 move_mount=429 open_tree=428 fsopen=430 mount_setattr=442
pivot_root=155 chroot=161 unshare=272 setns=308 keyctl=250 add_key=248 request_key=249 reboot=169
swapon=167 swapoff=168 acct=163 open_by_handle_at=304 kcmp=312 pidfd_getfd=438
landlock_create_ruleset=444 landlock_add_rule=445 landlock_restrict_self=446 seccomp=317 pidfd_open=434
pidfd_send_signal=424 memfd_create=319 setresuid=117 setresgid=119 setgroups=116 capset=126
"""

AARCH64 = """
read=63 write=64 close=57 fstat=80 lseek=62 mmap=222 mprotect=226 munmap=215 brk=214 rt_sigaction=134
rt_sigprocmask=135 rt_sigreturn=139 pread64=67 pwrite64=68 readv=65 writev=66 sched_yield=124 mremap=216
msync=227 mincore=232 madvise=233 dup=23 nanosleep=101 getitimer=102 setitimer=103 getpid=172
sendfile=71 sendto=206 recvfrom=207 sendmsg=211 recvmsg=212 shutdown=210 getsockname=204 getpeername=205
setsockopt=208 getsockopt=209 exit=93 wait4=260 uname=160 flock=32 fsync=82 fdatasync=83 truncate=45
ftruncate=46 getcwd=17 chdir=49 fchdir=50 fchmod=52 umask=166 gettimeofday=169 getrlimit=163
getrusage=165 sysinfo=179 times=153 getuid=174 getgid=176 geteuid=175 getegid=177 getppid=173
getgroups=158 getresuid=148 getresgid=150 getpgid=155 getsid=156 capget=90 rt_sigpending=136
rt_sigtimedwait=137 rt_sigsuspend=133 sigaltstack=132 statfs=43 fstatfs=44 getpriority=141
sched_getparam=121 sched_getscheduler=120 sched_get_priority_max=125 sched_get_priority_min=126
sched_rr_get_interval=127 setrlimit=164 gettid=178 readahead=213 futex=98 sched_getaffinity=123
getdents64=61 set_tid_address=96 restart_syscall=128 fadvise64=223 timer_create=107 timer_settime=110
timer_gettime=108 timer_getoverrun=109 timer_delete=111 clock_gettime=113 clock_getres=114
clock_nanosleep=115 exit_group=94 epoll_ctl=21 waitid=95 openat=56 mkdirat=34 newfstatat=79 unlinkat=35
renameat=38 linkat=37 symlinkat=36 readlinkat=78 fchmodat=53 faccessat=48 pselect6=72 ppoll=73
set_robust_list=99 get_robust_list=100 splice=76 tee=77 utimensat=88 epoll_pwait=22 timerfd_create=85
timerfd_settime=86 timerfd_gettime=87 signalfd4=74 eventfd2=19 epoll_create1=20 dup3=24 pipe2=59
preadv=69 pwritev=70 getcpu=168 renameat2=276 getrandom=278 membarrier=283 copy_file_range=285
preadv2=286 pwritev2=287 pkey_mprotect=288 pkey_alloc=289 pkey_free=290 statx=291 rseq=293
close_range=436 faccessat2=439 process_madvise=440 epoll_pwait2=441 get_mempolicy=236 mlock=228 munlock=229
inotify_init1=26 openat2=437 futex_waitv=449 getxattr=8 lgetxattr=9 fgetxattr=10
setxattr=5 lsetxattr=6 fsetxattr=7 listxattr=11 llistxattr=12 flistxattr=13 removexattr=14
lremovexattr=15 fremovexattr=16 sched_getattr=275 prctl=167 ioctl=29
fcntl=25 kill=129 tgkill=131 tkill=130 clone=220 clone3=435 socketpair=199 prlimit64=261 execve=221
execveat=281 setpgid=154 setsid=157 ptrace=117 process_vm_readv=270 process_vm_writev=271 bpf=280
perf_event_open=241 userfaultfd=282 io_uring_setup=425 io_uring_enter=426 io_uring_register=427
init_module=105 finit_module=273 delete_module=106 kexec_load=104 kexec_file_load=294 mount=40
umount2=39 move_mount=429 open_tree=428 fsopen=430 mount_setattr=442 pivot_root=41 chroot=51 unshare=97
setns=268 keyctl=219 add_key=217 request_key=218 reboot=142 swapon=224 swapoff=225 acct=89 kcmp=272
pidfd_getfd=438 landlock_create_ruleset=444 landlock_add_rule=445 landlock_restrict_self=446 seccomp=277
pidfd_open=434 pidfd_send_signal=424 memfd_create=279 setresuid=147 setresgid=149 setgroups=159
capset=91
"""

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINE = os.uname().machine


def _parse(table: str) -> dict[str, int]:
    return {name: int(number) for name, _, number in (pair.partition("=") for pair in table.split())}


NUMBERS: dict[str, int] = {"x86_64": _parse(X86_64), "aarch64": _parse(AARCH64)}.get(MACHINE, {})
NEWEST_KNOWN = 450
"""Numbers from here on are newer than this table: the filter answers "not implemented", so that libc falls
back."""
