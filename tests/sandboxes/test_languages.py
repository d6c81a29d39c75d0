# ruff: noqa: E501 (one program a line)
"""C++, JavaScript and shell in the same jail."""

from __future__ import annotations

import dataclasses

import pytest

from berry.sandboxes.base import MIB, Job, JobOutcome, Limits
from berry.sandboxes.languages import missing_tools

LIMITS = Limits(cpu_s=2, wall_s=20, memory_bytes=128 * MIB, disk_bytes=8 * MIB)


def program(box, language, source, *stdin, **limits):
    missing = missing_tools(language, ())
    if missing:
        pytest.skip(f"this host lacks {', '.join(missing)}")
    job = Job(source, language=language, stdin=stdin or ("",), limits=dataclasses.replace(LIMITS, **limits))
    return box.run(dataclasses.replace(job, stop_on_error=False))


HELLO = {
    "cpp": "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << n + 1 << std::endl; }",
    "javascript": "console.log(parseInt(require('fs').readFileSync(0, 'utf8')) + 1)",
    "shell": "read n; echo $((n + 1))",
}
FAILING = {
    "cpp": "int main() { return 3; }",
    "javascript": "process.exit(3)",
    "shell": "exit 3",
}
SPIN = {
    "cpp": "int main() { volatile int i = 0; for (;;) i++; }",
    "javascript": "for (;;);",
    "shell": "while :; do :; done",
}
SLEEP = {
    "cpp": "#include <unistd.h>\nint main() { sleep(100); }",
    "javascript": "setTimeout(() => {}, 100000)",
    "shell": "sleep 100",
}
FLOOD = {
    "cpp": '#include <cstdio>\nint main() { for (;;) puts("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"); }',
    "javascript": "const s = 'x'.repeat(65536); for (;;) require('fs').writeSync(1, s)",
    "shell": "yes",
}
READS = {
    "cpp": '#include <fstream>\n#include <iostream>\nint main() { std::ifstream f("/etc/passwd"); std::cout << f.rdbuf(); }',
    "javascript": "console.log(require('fs').readFileSync('/etc/passwd', 'utf8'))",
    "shell": "cat /etc/passwd /proc/1/environ",
}
NETWORK = {
    "cpp": "#include <sys/socket.h>\nint main() { return socket(AF_INET, SOCK_STREAM, 0) < 0; }",
    "javascript": "require('net').connect(80, '127.0.0.1').on('connect', () => console.log('DONE'))",
    "shell": "exec 3<>/dev/tcp/127.0.0.1/80",
}
each = pytest.mark.parametrize("language", HELLO)
pytestmark = pytest.mark.slow


@each
def test_a_program_answers_each_input(box, language):
    result = program(box, language, HELLO[language], "1", "41")
    assert result.outcome is JobOutcome.OK, result
    assert [c.stdout for c in result.cases] == [b"2\n", b"42\n"]


@each
def test_a_failing_status_is_an_error(box, language):
    result = program(box, language, FAILING[language])
    assert result.outcome is JobOutcome.RUNTIME_ERROR
    assert result.cases[0].exit_code == 3


UNPARSED = {
    "javascript": "console.log(1);\nfunction f( { return 1; }",
    "shell": "echo 1\nif true; then\n",
}
RAISES_SYNTAX = {
    "javascript": "JSON.parse('{')",
    "shell": "echo 'Syntax error: none of the source' >&2; exit 2",
}


@pytest.mark.parametrize("language", UNPARSED)
def test_source_that_does_not_parse_is_told_from_a_program_that_fails(box, language):
    result = program(box, language, UNPARSED[language], "1", "2")
    assert [c.outcome for c in result.cases] == [JobOutcome.COMPILE_ERROR] * 2
    assert "yntax" in (result.error or "")
    assert program(box, language, RAISES_SYNTAX[language]).outcome is JobOutcome.RUNTIME_ERROR


@each
def test_spinning_ends_at_the_cpu_limit(box, language):
    assert program(box, language, SPIN[language], cpu_s=0.4).outcome is JobOutcome.CPU_LIMIT


@each
def test_sleeping_ends_at_the_wall_limit(box, language):
    assert program(box, language, SLEEP[language], wall_s=0.7).outcome is JobOutcome.WALL_LIMIT


@each
def test_flooding_ends_at_the_output_limit(box, language):
    result = program(box, language, FLOOD[language])
    assert result.outcome in (JobOutcome.OUTPUT_LIMIT, JobOutcome.DISK_LIMIT), result
    assert len(result.cases[0].stdout) <= LIMITS.output_bytes


@each
def test_host_files_stay_closed(box, language):
    result = program(box, language, READS[language])
    assert b"root" not in result.cases[0].stdout
    assert b"PATH=" not in result.cases[0].stdout


@each
def test_the_network_stays_closed(box, language):
    result = program(box, language, NETWORK[language])
    assert result.outcome is JobOutcome.RUNTIME_ERROR, result
    assert b"DONE" not in result.cases[0].stdout


def test_a_source_that_does_not_compile_is_told_apart(box):
    result = program(box, "cpp", "int main() { return x; }")
    assert result.outcome is JobOutcome.COMPILE_ERROR
    assert result.error
    assert "was not declared" in result.error


def test_the_compiler_can_not_read_host_files(box):
    result = program(box, "cpp", '#include "/etc/passwd"\nint main() {}')
    assert result.outcome is JobOutcome.COMPILE_ERROR
    assert "root:" not in (result.error or "")


@pytest.mark.slow
def test_a_compile_bomb_ends_within_the_compilers_limits(make_box):
    limits = Limits(cpu_s=1.5, wall_s=20, memory_bytes=512 * MIB, disk_bytes=8 * MIB)
    box = make_box(compile_limits=limits)
    bomb = "template<int N> struct A { typedef typename A<N-1>::t a; typedef A<N*2> t; };\nint main() { A<900>::t x; }"
    bomb += "\nchar a[1u << 30] = {1};"
    result = program(box, "cpp", bomb)
    assert result.outcome.blames_program, result


def test_too_much_memory_is_told(box):
    source = "#include <vector>\nint main() { std::vector<char> v(1L << 33, 1); return v[5]; }"
    assert program(box, "cpp", source).outcome is JobOutcome.MEMORY_LIMIT


def test_a_binary_can_not_be_changed_for_the_next_run(box):
    source = (
        "#include <cstdio>\n#include <unistd.h>\n"
        'int main() { puts("honest"); unlink("prog"); FILE* f = fopen("prog", "w"); if (f) { fputs("#!/bin/sh\\necho x", f); fclose(f); } }'
    )
    result = program(box, "cpp", source, "", "")
    assert [c.stdout for c in result.cases] == [b"honest\n", b"honest\n"]


def test_a_program_can_not_fork(box):
    source = '#include <unistd.h>\n#include <cstdio>\nint main() { printf("%d\\n", fork()); }'
    assert program(box, "cpp", source).cases[0].stdout == b"-1\n"


def test_a_shell_may_pipe(box):
    result = program(box, "shell", "printf 'b\\na\\n' | sort | head -n 1; echo $(expr 2 + 3)")
    assert result.cases[0].stdout == b"a\n5\n"


def test_what_a_shell_leaves_behind_is_ended(box):
    result = program(box, "shell", "(sleep 300 &) ; setsid sleep 300 & nohup sleep 300 & echo done")
    assert result.cases[0].stdout == b"done\n"
    assert program(box, "shell", "echo next").cases[0].stdout == b"next\n"


def test_a_fork_bomb_ends(box):
    bomb = "f() { f | f & }; f; while :; do :; done"
    result = program(box, "shell", bomb, cpu_s=1, wall_s=2)
    assert result.outcome.blames_program or result.outcome is JobOutcome.OK, result
    assert program(box, "shell", "echo next").cases[0].stdout == b"next\n"


def test_cpu_time_of_all_processes_of_a_shell_counts(box):
    spin = "for i in 1 2 3 4; do (while :; do :; done) & done; wait"
    result = program(box, "shell", spin, cpu_s=1, wall_s=20)
    assert result.outcome is JobOutcome.CPU_LIMIT, result
    assert result.wall_s < 10
    turns = "while :; do (i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done); done"
    assert program(box, "shell", turns, cpu_s=1, wall_s=20).outcome is JobOutcome.CPU_LIMIT


def test_memory_of_all_processes_of_a_shell_counts(box):
    eat = "awk 'BEGIN { s = \"x\"; while (length(s) < 40000000) s = s s; while (1) i++ }'"
    one = program(box, "shell", f"{eat} & sleep 2; kill $! 2>/dev/null; echo done", cpu_s=20, wall_s=30)
    assert one.outcome is not JobOutcome.MEMORY_LIMIT, one
    many = program(box, "shell", f"for i in 1 2 3 4 5 6; do {eat} & done; wait", cpu_s=60, wall_s=30)
    assert many.outcome is JobOutcome.MEMORY_LIMIT, many


def test_a_missing_tool_is_nobodys_fault(box, monkeypatch):
    monkeypatch.setattr("berry.sandboxes.languages.SYSTEM_PATH", "/nowhere")
    result = box.run(Job("int main() {}", language="cpp"))
    assert result.outcome is JobOutcome.MISSING_TOOL
    assert not result.outcome.blames_program
    assert result.error
    assert "g++" in result.error
