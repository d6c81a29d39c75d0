"""Lists what of the host's own files jobs may read: the libraries and tools that they need, and no installed packages.

python jobs: shared libraries, the interpreter's own library      (and the packages of their profile: see `plan`)
the others:  shared libraries, commands, headers, the runtimes' own trees
"""

from __future__ import annotations

import os

_LIBRARY_DIRS = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/local/lib", "/usr/local/lib64",
                 "/lib", "/lib32", "/lib64", "/libx32")  # fmt: skip
_NO_RUNTIME = frozenset({
    "apt", "dpkg", "systemd", "firmware", "modules", "kernel", "initramfs-tools", "google-cloud-sdk", "postgresql",
    "openssh", "gnupg", "gnupg2", "git-core", "sysusers.d", "tmpfiles.d", "environment.d", "binfmt.d", "modprobe.d",
    "pam.d", "udev", "init", "polkit-1", "policykit-1", "dbus-1.0", "valgrind", "heaptrack", "software-properties",
    "debug", "lsb", "man-db", "groff", "X11", "os-release",
})  # fmt: skip
"""Entries of a library directory that no compiler, interpreter or command of a job reads."""
_SHARED = ("zoneinfo", "nodejs", "java", "go", "dotnet", "mono", "perl", "php", "R", "ruby", "rubygems", "rustc",
           "misc", "awk", "terminfo", "coq", "ocaml")  # fmt: skip
"""How entries of /usr/share that jobs may read begin."""
COMMANDS = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/libexec", "/usr/include", "/usr/local/include",
            "/etc/ld.so.cache", "/etc/alternatives")  # fmt: skip


def _library_dirs() -> list[str]:
    """Library directories that are none of the others under another name."""
    present = [path for path in _LIBRARY_DIRS if os.path.isdir(path)]
    return list({os.path.realpath(path): path for path in reversed(present)}.values())


def _entries(directory: str) -> list[str]:
    return sorted(os.path.join(directory, name) for name in os.listdir(directory))


def _is_python(path: str) -> bool:
    name = os.path.basename(path)
    return name.startswith(("python", "pypy")) and os.path.isdir(path)


def shared_libraries() -> list[str]:
    """Files and directories of shared libraries and locales, without the library of any Python."""
    found = []
    for directory in _library_dirs():
        for path in _entries(directory):
            name = os.path.basename(path)
            if (
                name == "locale"
                or name.endswith(("-linux-gnu", "-linux-musl"))
                or name.startswith(("lib", "ld-", "ld."))
            ):
                found.append(path)
    return [*found, "/usr/share/zoneinfo", "/etc/ld.so.cache"]


def tool_trees() -> list[str]:
    """What compilers, interpreters and shell commands read and execute."""
    found = [path for path in COMMANDS if os.path.realpath(path) == path or not path.startswith("/bin")]
    for directory in _library_dirs():
        found += [p for p in _entries(directory) if not _is_python(p) and os.path.basename(p) not in _NO_RUNTIME]
    if os.path.isdir("/usr/share"):
        found += [path for path in _entries("/usr/share") if os.path.basename(path).startswith(_SHARED)]
    return found


def runtime_settings() -> list[str]:
    """The directories in /etc that runtimes of other languages can't start without."""
    java = (path for path in _entries("/etc") if path.startswith("/etc/java-"))
    return sorted(path for path in (*java, "/etc/R", "/etc/php", "/etc/mono") if os.path.isdir(path))


def packages_in_stdlib() -> list[str]:
    """Directories inside the interpreter's own library that are not of it: installed packages (a benchmark with its
    answers, say), and its tests."""
    stdlib = os.path.dirname(os.__file__)
    candidates = [os.path.join(stdlib, name) for name in ("site-packages", "dist-packages", "test")]
    return [path for path in candidates if os.path.isdir(path)]


def packages_of_the_system() -> list[str]:
    """Directories of packages installed for any Python of the system, besides those in this interpreter's library."""
    stdlib = os.path.dirname(os.__file__)
    found = [
        f"{python}/{kind}-packages" for top in _library_dirs() for python in _entries(top) for kind in ("site", "dist")
    ]
    return sorted(
        path for path in found
        if os.path.isdir(path) and path == os.path.realpath(path) and not path.startswith(stdlib + "/")
    )  # fmt: skip
