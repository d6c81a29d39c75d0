"""Lists jobs that lock the folders they run in, and what one job could tell the next by them."""

from __future__ import annotations

LOCKS = {
    "its_directory": "os.chmod('.', 0)",
    "the_directory_above": "os.chmod('..', 0)",
    "its_slots_directory": "os.chmod('../..', 0)",
    "the_pools_directory": "os.chmod('../../..', 0)",
    "the_pools_directory_by_descriptor": "os.fchmod(os.open('../../..', os.O_PATH), 0)",
    "everything_above": "[os.chmod('../' * n or '.', 0) for n in range(6)]",
    "a_directory_without_rights": "os.mkdir('a', 0); os.mkdir('b', 0o300); open('b/c', 'w').close()",
    "its_directory_moved": "os.rename('../w', '../x')",
    "its_directory_removed": "os.rmdir('../w')",
    "a_link_in_its_place": "os.chdir('..'); os.rmdir('w'); os.symlink('/', 'w')",
    "a_file_in_its_place": "os.chdir('..'); os.rmdir('w'); open('w', 'w').close()",
    "a_link_inside": "os.symlink('/', 'a'); os.symlink('..', 'b'); os.symlink('.', 'c')",
    "a_pipe_inside": "os.mkfifo('a', 0)",
}
"""One line of Python each, after which the pool must serve others."""

SHELL = {
    "everything_above": "chmod 0 . .. ../.. ../../..",
    "a_directory_without_rights": "mkdir -m 0 a; umask 777; mkdir b; : > c",
    "its_directory_moved": "mv ../w ../x; rmdir ../w",
    "a_link_in_its_place": "cd ..; rmdir w; ln -s / w",
}
"""The same in shell."""

TRACE = """
import os, stat
found = []
for path in ('.', '..', '../..', '../../..'):
    s = os.stat(path)
    own = (s.st_mtime_ns, s.st_size, s.st_nlink) if path in ('.', '..') else ()
    found.append((stat.S_IMODE(s.st_mode), own))
for path in ('.', '..', '../..', '../../..'):
    try: found.append(sorted(os.listdir(path)))
    except OSError as e: found.append(e.errno)
print(found)
"""
"""Prints all that a job can see of its folder and those above."""

MARKS = """
import os
for path in ('.', '..', '../..', '../../..'):
    for act in (lambda: os.chmod(path, 0o1731), lambda: os.utime(path, (77, 77)),
                lambda: os.setxattr(path, 'user.mark', b'x'), lambda: open(path + '/left', 'w').close(),
                lambda: [os.mkdir(path + '/' + 'long' * 50 + str(i)) for i in range(300)],
                lambda: os.symlink('/', path + '/link')):
        try: act()
        except OSError: pass
"""
"""Leaves every mark that a job can there."""
