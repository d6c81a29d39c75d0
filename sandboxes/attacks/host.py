"""Lists programs that reach for the host: files, environment, network, kernel, other processes."""

from __future__ import annotations

SYSCALL = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"

DENIED = "print('denied' if {} < 0 and ctypes.get_errno() in (1, 13) else 'DONE')"
"""Prints `denied` where a raw call is refused, else `DONE`."""

FORBIDDEN = {
    "open_socket": "import socket; socket.socket()",
    "open_udp_socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "open_unix_socket": "import socket; socket.socket(socket.AF_UNIX)",
    "open_netlink_socket": "import socket; socket.socket(16, socket.SOCK_RAW)",
    "resolve_a_name": "import socket; socket.create_connection(('127.0.0.1', 80))",
    "list_the_root": "import os; os.listdir('/')",
    "list_the_parent_directory": "import os; os.listdir('../../..')",
    "read_passwords": "open('/etc/passwd').read()",
    "read_own_memory_map": "open('/proc/self/maps').read()",
    "read_another_environment": "open('/proc/1/environ', 'rb').read()",
    "read_own_environment_by_proc": "open('/proc/self/environ', 'rb').read()",
    "read_kernel_settings": "open('/sys/kernel/mm/transparent_hugepage/enabled').read()",
    "write_own_memory": "open('/proc/self/mem', 'wb')",
    "write_outside": "open('/tmp/outside', 'w')",
    "write_to_shared_memory": "open('/dev/shm/outside', 'w')",
    "write_into_the_library": "import os; open(os.path.dirname(os.__file__) + '/os.py', 'a')",
    "make_a_directory_outside": "import os; os.mkdir('/tmp/outside')",
    "make_a_device": "import os, stat; os.mknod('dev', stat.S_IFCHR | 0o666, os.makedev(1, 3))",
    "follow_a_symlink_out": "import os; os.symlink('/etc/passwd', 'l'); open('l').read()",
    "hard_link_from_outside": "import os; os.link('/etc/passwd', 'l'); open('l').read()",
    "rename_outside": "import os; open('a', 'w').close(); os.rename('a', '/tmp/outside')",
    "truncate_outside": "import os; os.truncate(os.__file__, 0)",
    "start_a_child": "import os; os.fork()",
    "start_a_terminal_child": "import pty; pty.fork()",
    "start_a_command": "import subprocess; subprocess.run(['true'])",
    "start_a_command_by_spawn": "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "start_a_process_pool": "import multiprocessing as m; m.Process(target=print).start()",
    "become_another_program": "import os; os.execv('/bin/sh', ['sh'])",
    "kill_the_parent": "import os; os.kill(os.getppid(), 9)",
    "kill_everything": "import os; os.kill(-1, 9)",
    "kill_the_group": "import os; os.killpg(0, 9)",
    "stop_oneself": "import os; os.kill(os.getpid(), 19)",
    "become_root": "import os; os.setuid(0)",
    "change_group": "import os; os.setgroups([0])",
    "run_ahead_of_others": "import os; os.nice(-5)",
    "choose_cores": "import os; os.sched_setaffinity(0, {0})",
    "raise_own_limit": "import resource as r; r.setrlimit(r.RLIMIT_CPU, (10**6, 10**6))",
    "anonymous_file_in_memory": "import os; os.memfd_create('x')",
}  # fmt: skip
"""Python that must be refused before it prints `DONE`."""

RAW = {
    "fork": "libc.syscall(57)",
    "vfork_by_clone": "libc.syscall(56, 0x4111, 0, 0, 0, 0)",
    "thread_with_descriptors_of_its_own": "libc.syscall(56, 0x10900, 0, 0, 0, 0)",
    "clone_into_new_namespaces": "libc.syscall(56, 0x10010000 | 17, 0, 0, 0, 0)",
    "shared_memory_that_outlives": "libc.shmget(0, 4096, 0o1666)",
    "semaphores_that_outlive": "libc.semget(0, 1, 0o1666)",
    "message_queue_that_outlives": "libc.mq_open(b'/x', 0o102, 0o666, None)",
    "unset_the_death_signal": "libc.prctl(1, 0, 0, 0, 0)",
    "become_dumpable": "libc.prctl(4, 1, 0, 0, 0)",
    "own_a_foreign_descriptor_signal": "libc.fcntl(3, 8, 1)",
    "choose_a_descriptor_signal": "libc.fcntl(3, 10, 9)",
    "signal_by_pidfd": "libc.syscall(424, 3, 9, 0, 0)",
    "open_another_process": "libc.syscall(434, 1, 0)",
    "signal_a_thread_of_another": "libc.syscall(234, 1, 1, 9)",
    "limit_another_process": "libc.syscall(302, 1, 7, 0, 0)",
    "type_into_the_terminal": "libc.ioctl(0, 0x5412, b'x')",
    "personality": "libc.personality(0x0040000)",
    "watch_files": "libc.fanotify_init(0, 0)",
    "new_filter": "libc.syscall(317, 1, 0, 0)",
    "advise_on_memory_of_another": "libc.syscall(440, 3, 0, 0, 23, 0)",
    "slow_down_all_of_a_user": "libc.setpriority(2, 0, 19)",
    "take_the_disk_from_all_of_a_user": "libc.syscall(251, 3, 0, (3 << 13) | 7)",
    "queue_a_signal_for_another": "libc.syscall(129, 1, 9, bytes(128))",
    "lease_a_file": "libc.fcntl(libc.open(b'a', 0o100), 1024, 0)",
    "wake_late": "libc.prctl(29, 10 ** 9, 0, 0, 0)",
    "adopt_orphans": "libc.prctl(36, 1, 0, 0, 0)",
    "move_pages_of_another": "libc.syscall(279, 1, 0, 0, 0, 0, 0)",
    "read_the_kernels_log": "libc.syscall(103, 3, bytes(99), 99)",
    "splice_memory_into_a_pipe": "libc.syscall(278, 0, 0, 0, 0, 0, 0)",
    "message_queue_of_system_v": "libc.syscall(68, 0, 0, 0, 0, 0, 0)",
    "operate_on_semaphores": "libc.syscall(65, 0, 0, 0, 0, 0, 0)",
    "choose_a_scheduler": "libc.syscall(144, 0, 0, 0, 0, 0, 0)",
    "take_capabilities": "libc.syscall(126, 0, 0, 0, 0, 0, 0)",
    "become_another_user": "libc.syscall(117, 0, 0, 0, 0, 0, 0)",
    "name_the_machine": "libc.syscall(170, 0, 0, 0, 0, 0, 0)",
    "set_the_clock": "libc.syscall(227, 0, 0, 0, 0, 0, 0)",
    "reach_for_ports": "libc.syscall(172, 0, 0, 0, 0, 0, 0)",
    "change_segment_tables": "libc.syscall(154, 0, 0, 0, 0, 0, 0)",
    "signal_a_thread": "libc.syscall(200, 0, 0, 0, 0, 0, 0)",
    "bind_memory_to_a_node": "libc.syscall(237, 0, 0, 0, 0, 0, 0)",
    "move_pages_to_a_node": "libc.syscall(256, 0, 0, 0, 0, 0, 0)",
    "lock_all_memory": "libc.syscall(151, 0, 0, 0, 0, 0, 0)",
    "change_quotas": "libc.syscall(179, 0, 0, 0, 0, 0, 0)",
    "make_a_node": "libc.syscall(133, 0, 0, 0, 0, 0, 0)",
    "listen_on_a_name": "libc.syscall(49, 0, 0, 0, 0, 0, 0)",
    "call_an_address": "libc.syscall(42, 0, 0, 0, 0, 0, 0)",
    "send_many_messages": "libc.syscall(307, 0, 0, 0, 0, 0, 0)",
    "queue_of_input_and_output": "libc.syscall(206, 0, 0, 0, 0, 0, 0)",
    "watch_a_directory": "libc.syscall(294, 0, 0, 0, 0, 0, 0)",
    "handle_of_a_file": "libc.syscall(303, 0, 0, 0, 0, 0, 0)",
    "flush_a_file_system": "libc.syscall(306, 0, 0, 0, 0, 0, 0)",
    "give_a_file_away": "libc.syscall(92, 0, 0, 0, 0, 0, 0)",
    "advise_on_own_memory_as_a_slot": "libc.syscall(440, -10000, 0, 0, 23, 0)",
}  # fmt: skip
"""Calls of the C library that answer EPERM or EACCES."""

FATAL = {
    "trace": "libc.ptrace(16, 1, 0, 0)",
    "read_another_memory": "libc.process_vm_readv(1, 0, 0, 0, 0, 0)",
    "unshare": "libc.unshare(0x10000000)",
    "mount": "libc.mount(b'none', b'/', b'tmpfs', 0, None)",
    "change_root": "libc.chroot(b'.')",
    "enter_a_namespace": "libc.setns(3, 0)",
    "load_kernel_code": "libc.syscall(321, 5, 0, 0)",
    "rings": "libc.syscall(425, 8, 0)",
    "faults_by_hand": "libc.syscall(323, 0)",
    "keys": "libc.syscall(250, 0, 0, 0, 0, 0)",
    "old_table_of_calls": "libc.syscall(0x40000000 | 39)",
}  # fmt: skip
"""Calls that end the program."""

PATH_SENDING = """
import os, socket
for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_STREAM):
    try: a, b = socket.socketpair(socket.AF_UNIX, kind)
    except OSError: print('refused'); continue
    for send in (lambda: a.sendto(b'x', PATH), lambda: a.sendmsg([b'x'], [], 0, PATH),
                 lambda: a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, bytes(4))], 0, PATH)):
        try: send(); print('DONE')
        except OSError: print('refused')
"""
"""Sends to the path PATH by every kind of socket pair."""

SOCKET_MEMORY = """
import socket
total, held = 0, []
try:
    while True:
        a, b = socket.socketpair()
        held += (a, b)
        for s in (a, b):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                try: s.setsockopt(socket.SOL_SOCKET, option, 1 << 24)
                except OSError: pass
            s.setblocking(False)
            try:
                while True: total += s.send(bytes(65536))
            except BlockingIOError: pass
except OSError: pass
print(total)
"""
"""Prints how many bytes it holds in socket buffers."""

TIMERS = """
import ctypes
libc = ctypes.CDLL(None)
made, timer = 0, ctypes.c_void_p()
while made < 1000000 and libc.timer_create(1, None, ctypes.byref(timer)) == 0: made += 1
print(made)
"""
"""Prints how many timers it holds, each some 400 bytes of the kernel's memory."""
