"""Lists the languages besides Python: the commands that turn a source file into output."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from berry.sandboxes.base import MIB, Language, Limits
from berry.sandboxes.jail.seccomp import Kind

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class LanguageCommands:
    """How a language is run: `compile` and `run` are commands; `{memory_mib}` in them is the limit, `{file}` the source
    file and `{main}` the name behind `names`. An empty `run` means the compiled binary itself."""

    source: str
    run: tuple[str, ...]
    kind: Kind
    compile: tuple[str, ...] = ()
    reserve_bytes: int = 0
    """What the runtime itself takes of the memory limit."""
    files: int = 0
    """Descriptors that the runtime itself needs."""
    parse: tuple[str, ...] = ()
    """For what has no compiler: reads the source without running it, and fails where it does not parse."""
    unparsed: bytes = b"yntax"
    """What the interpreter's message holds where it stumbled over the source: "SyntaxError", "Syntax error"."""
    shared_library: str = ""
    """A shared library that must be there too."""
    tools: tuple[str, ...] = ()
    """What must be there, where it is more than the first words of the commands."""
    package: str = ""
    """The Debian package that brings the tools."""
    names: Callable[[str], tuple[str, str]] | None = None
    """From the source: the name that its file must have, and what `{main}` stands for."""
    environment: tuple[tuple[str, str], ...] = ()
    """`{home}` in values and commands is the folder above that of the last tool, links followed: a runtime can't find
    its own, since jobs have no /proc."""


BINARY = "prog"
_JVM = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", "-Djava.io.tmpdir=."]
_JAVAC = " ".join(f"-J{flag}" for flag in _JVM)


# Compilers may start no program of their own making, but the loader is the system's.
_LOADER = next(iter(sorted(glob.glob("/lib*/ld-linux-*.so.*"))), "/lib64/ld-linux-x86-64.so.2")
# Mono asks where the stack of its thread is. Of a process's first thread only /proc/self/maps knows, which jobs can't
# read; so mono runs in a second one. Priorities of threads, which jobs can't set, are left as they are. The compiled
# program lies in the launcher, which is the one file that is kept.
_MONO = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
int pthread_setschedparam(pthread_t thread, int policy, const struct sched_param *wanted) { return 0; }
static int count, status;
static char **words;
static void *begin(void *library) {
  int (*mono_main)(int, char **) = (int (*)(int, char **))dlsym(library, "mono_main");
  status = mono_main ? mono_main(count, words) : 127;
  return 0;
}
#ifdef PROGRAM
__asm__(".section .rodata\nprogram: .incbin \"main.exe\"\nprogram_end: .byte 0\n.previous");
extern const char program[], program_end[];
#endif
int main(int argc, char **argv) {
  pthread_attr_t attributes;
  pthread_t thread;
  void *library = dlopen("libmonosgen-2.0.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (!library) { fputs(dlerror(), stderr); return 127; }
#ifdef PROGRAM
  static char *own[] = {"mono", "main.exe", 0};
  FILE *file = fopen("main.exe", "wb");
  size_t size = program_end - program;
  if (!file || fwrite(program, 1, size, file) != size || fclose(file)) { perror("main.exe"); return 126; }
  argc = 2; argv = own;
#endif
  count = argc; words = argv;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64u << 20);
  if (pthread_create(&thread, &attributes, begin, library)) { fputs("no thread", stderr); return 126; }
  pthread_join(thread, 0);
  return status;
}
""".replace("{", "{{").replace("}", "}}")


def java_names(source: str) -> tuple[str, str]:
    """Finds the file name that Java wants (its public class) and the class that holds `main`."""
    public = re.search(
        r"^[^\S\n]*public\s+(?:final\s+|abstract\s+|strictfp\s+)*(?:class|interface|enum|record)\s+(\w+)", source, re.M
    )
    classes = list(re.finditer(r"\b(?:class|interface|enum|record)\s+(\w+)", source))
    entry = re.search(r"\bstatic\s+(?:public\s+|final\s+)*void\s+main\s*\(", source)
    before = [match[1] for match in classes if entry is None or match.start() < entry.start()]
    main = before[-1] if before else "Main"
    return f"{public[1] if public else main}.java", public[1] if public and public[1] in before else main


COMMANDS: dict[Language, LanguageCommands] = {
    "cpp": LanguageCommands(
        source="main.cpp", run=(), kind="program", package="g++",
        compile=("g++", "-std=c++17", "-O2", "-pipe", "-o", BINARY, "main.cpp"), reserve_bytes=16 * MIB,
    ),
    "javascript": LanguageCommands(
        source="main.js", run=("node", "--max-old-space-size={memory_mib}", "--stack-size=4000", "main.js"),
        kind="program", reserve_bytes=1024 * MIB, files=64, parse=("node", "--check", "main.js"), package="nodejs",
    ),
    "typescript": LanguageCommands(
        source="main.ts", run=("node", "--max-old-space-size={memory_mib}", "--stack-size=4000", BINARY),
        # What does not parse (TS1…) fails. Types that do not fit are told, and the program is made all the same, as
        # the field's harnesses have it.
        compile=("sh", "-c", "tsc --target es2021 --module commonjs --moduleResolution node --skipLibCheck "
                 "--outDir out main.ts >told; cat told >&2; ! grep -q 'error TS1[0-9]{{3}}:' -E told && "
                 "mv out/main.js " + BINARY), kind="program",
        reserve_bytes=1024 * MIB, files=64, tools=("sh", "tsc", "node"), package="node-typescript",
    ),
    "java": LanguageCommands(
        source="Main.java", names=java_names, kind="program", package="default-jdk-headless",
        run=("java", *_JVM, "-Xmx{memory_mib}m", "-Xss64m", "-jar", BINARY),
        compile=("sh", "-c", f"javac {_JAVAC} -nowarn -encoding UTF-8 -d out {{file}} && "
                 f"jar --create --file {BINARY} --main-class {{main}} -C out ."),
        reserve_bytes=1024 * MIB, files=64, tools=("sh", "javac", "jar", "java"),
        environment=(("LD_LIBRARY_PATH", "{home}/lib"), ("JAVA_HOME", "{home}")),
    ),
    "go": LanguageCommands(
        source="main.go", run=(), kind="program", package="golang-go", reserve_bytes=256 * MIB,
        compile=("sh", "-c", f"GOCACHE=$PWD/cache GOPATH=$PWD/path GOTMPDIR=$PWD go build -o {BINARY} main.go"),
        environment=(("GO111MODULE", "off"), ("CGO_ENABLED", "0"), ("GOFLAGS", "-p=1")), tools=("sh", "go"),
    ),
    "rust": LanguageCommands(
        source="main.rs", run=(), kind="program", package="rustc", reserve_bytes=16 * MIB,
        compile=("rustc", "--sysroot", "{home}", "-O", "-C", "strip=symbols", "--edition", "2021", "-o", BINARY,
                 "main.rs"),
        tools=("cc", "rustc"),
    ),
    "csharp": LanguageCommands(
        source="main.cs", run=(), kind="program", package="gcc mono-mcs libmonosgen-2.0-1",
        compile=("sh", "-c", f"printf %s '{_MONO}' >run.c && cc -o run run.c -rdynamic -ldl -lpthread && "
                 f"{_LOADER} ./run "
                 "{home}/lib/mono/4.5/mcs.exe -nologo -optimize+ -warn:0 -d:DEBUG -d:TRACE -r:System.Numerics.dll "
                 f"-out:main.exe main.cs >&2 && cc -DPROGRAM -o {BINARY} run.c -rdynamic -ldl -lpthread"),
        reserve_bytes=256 * MIB, files=16, tools=("sh", "cc", "mcs"), shared_library="/usr/lib/libmonosgen-2.0.so.1",
    ),
    "php": LanguageCommands(
        source="main.php", run=("php", "-d", "memory_limit={memory_mib}M", "-d", "display_errors=stderr", "main.php"),
        kind="program", package="php-cli", reserve_bytes=64 * MIB, files=16, parse=("php", "-l", "main.php"),
    ),
    "ruby": LanguageCommands(
        source="main.rb", run=("ruby", "main.rb"), kind="program", package="ruby", reserve_bytes=64 * MIB, files=16,
        parse=("ruby", "-c", "main.rb"),
    ),
    "r": LanguageCommands(
        source="main.R", run=("Rscript", "--vanilla", "main.R"), kind="tools", package="r-base-core",
        reserve_bytes=256 * MIB, files=256, parse=("Rscript", "--vanilla", "-e", "invisible(parse('main.R'))"),
        unparsed=b"unexpected",
    ),
    "shell": LanguageCommands(
        source="main.sh", run=("sh", "main.sh"), kind="tools", reserve_bytes=16 * MIB, parse=("sh", "-n", "main.sh"),
        package="dash",
    ),
}  # fmt: skip
"""One row a language; what a runtime needs of the jail stands in its row."""


def find_tool(name: str, directories: tuple[str, ...]) -> str | None:
    """Finds the absolute path of a compiler or interpreter; `directories` come before the system's."""
    path = shutil.which(name, path=os.pathsep.join((*directories, SYSTEM_PATH)))
    return None if path is None else os.path.abspath(path)


def missing_tools(language: Language, directories: tuple[str, ...]) -> list[str]:
    """Lists the tools that a language needs and this host lacks."""
    if language == "python":
        return []
    row = COMMANDS[language]
    needed = row.tools or tuple(command[0] for command in (row.compile, row.run) if command)
    lacking = [name for name in needed if find_tool(name, directories) is None]
    return [*lacking, row.shared_library] if row.shared_library and not os.path.exists(row.shared_library) else lacking


def command(
    row: LanguageCommands,
    template: tuple[str, ...],
    limits: Limits,
    directories: tuple[str, ...],
    *,
    file: str = "",
    main: str = "",
) -> list[str]:
    """Fills in a command with its tool's path, the limits and the names of its source."""
    tool = find_tool(template[0], directories)
    assert tool is not None, "missing_tools was asked first"
    memory_mib = max(16, limits.memory_bytes // MIB)
    home = home_of(row, directories)
    return [tool, *(part.format(memory_mib=memory_mib, file=file, main=main, home=home) for part in template[1:])]


def home_of(row: LanguageCommands, directories: tuple[str, ...]) -> str:
    """Finds the folder above that of the row's last tool, links followed."""
    names = row.tools or row.run or row.compile
    tool = find_tool(names[-1] if row.tools else names[0], directories) if names else None
    return "" if tool is None else os.path.dirname(os.path.dirname(os.path.realpath(tool)))


def environment(row: LanguageCommands, directories: tuple[str, ...]) -> dict[str, str]:
    """Gives all that a job of this language sees of an environment."""
    base = {"PATH": os.pathsep.join((*directories, SYSTEM_PATH)), "HOME": ".", "TMPDIR": ".", "LANG": "C.UTF-8"}
    home = home_of(row, directories)
    return base | {"OPENSSL_CONF": "/dev/null"} | {key: value.format(home=home) for key, value in row.environment}
