"""TypeScript, Java, Go, Rust, C#, PHP, Ruby and R in the same jail: they answer, fail and end as the others do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import pytest

from berry.sandboxes.base import MIB, Job, JobOutcome, JobResult, Limits
from berry.sandboxes.languages import COMMANDS, java_names, missing_tools

LIMITS = Limits(cpu_s=3, wall_s=30, memory_bytes=128 * MIB, disk_bytes=16 * MIB)
pytestmark = pytest.mark.slow


class Program(NamedTuple):
    """Prints n + 1; then, for n = 1 reads a file of the host, for 2 opens a connection and for 3 never ends. Prints
    LEAK where it got what it should not get."""

    source: str
    broken: str


PROGRAMS = {
    "typescript": Program(
        """
declare var require: any;
const fs = require('fs');
const n: number = parseInt(fs.readFileSync(0, 'utf8'));
console.log(n + 1);
if (n == 1) try { if (fs.readFileSync('/etc/passwd')) console.log('LEAK'); } catch (e) {}
if (n == 2) require('net').connect(80, '127.0.0.1').on('connect', () => console.log('LEAK')).on('error', () => {});
while (n == 3);
""",
        "const n: number = (;",
    ),
    "java": Program(
        """
import java.util.*;
import java.nio.file.*;
class Helper { static int next(int n) { return n + 1; } }
public class Answer {
  public static void main(String[] args) throws Exception {
    int n = new Scanner(System.in).nextInt();
    System.out.println(Helper.next(n));
    if (n == 1) try { Files.readAllBytes(Paths.get("/etc/passwd")); System.out.println("LEAK"); } catch (Exception e) {}
    if (n == 2) try { new java.net.Socket("127.0.0.1", 80); System.out.println("LEAK"); } catch (Exception e) {}
    while (n == 3);
  }
}
""",
        "public class Answer { int x = ; }",
    ),
    "go": Program(
        """
package main

import ("fmt"; "net"; "os")

func main() {
  var n int
  fmt.Scan(&n)
  fmt.Println(n + 1)
  if n == 1 { if _, e := os.ReadFile("/etc/passwd"); e == nil { fmt.Println("LEAK") } }
  if n == 2 { if _, e := net.Dial("tcp", "127.0.0.1:80"); e == nil { fmt.Println("LEAK") } }
  for n == 3 { }
}
""",
        "package main\nfunc main() { x := }",
    ),
    "rust": Program(
        """
use std::io;
fn main() {
  let mut s = String::new();
  io::stdin().read_line(&mut s).unwrap();
  let n: i64 = s.trim().parse().unwrap();
  println!("{}", n + 1);
  if n == 1 && std::fs::read("/etc/passwd").is_ok() { println!("LEAK"); }
  if n == 2 && std::net::TcpStream::connect("127.0.0.1:80").is_ok() { println!("LEAK"); }
  let mut i: u64 = 0;
  while n == 3 { i = unsafe { std::ptr::read_volatile(&i) } + 1; }
}
""",
        "fn main() { let x = ; }",
    ),
    "csharp": Program(
        """
using System; using System.IO; using System.Net.Sockets;
static class Answer {
  static void Main() {
    int n = int.Parse(Console.ReadLine());
    Console.WriteLine(n + 1);
    if (n == 1) try { File.ReadAllBytes("/etc/passwd"); Console.WriteLine("LEAK"); } catch (Exception) {}
    if (n == 2) try { if (new TcpClient("127.0.0.1", 80).Connected) Console.WriteLine("LEAK"); } catch (Exception) {}
    while (n == 3);
  }
}
""",
        "class Answer { int x = ; }",
    ),
    "php": Program(
        """<?php
fscanf(STDIN, "%d", $n);
echo $n + 1, "\\n";
if ($n == 1 && @file_get_contents('/etc/passwd')) echo "LEAK";
if ($n == 2 && @fsockopen('127.0.0.1', 80)) echo "LEAK";
while ($n == 3);
""",
        "<?php echo 1 +;",
    ),
    "ruby": Program(
        """
require 'socket'
n = gets.to_i
puts n + 1
begin; File.read('/etc/passwd'); puts 'LEAK'; rescue SystemCallError; end if n == 1
begin; TCPSocket.new('127.0.0.1', 80); puts 'LEAK'; rescue SystemCallError; end if n == 2
while n == 3; end
""",
        "puts 1 +\ndef (",
    ),
    "r": Program(
        """
n <- as.integer(readLines(file("stdin"), 1))
cat(n + 1, "\\n", sep = "")
if (n == 1) try({ readLines("/etc/passwd"); cat("LEAK") }, silent = TRUE)
if (n == 2) try({ socketConnection("127.0.0.1", 80); cat("LEAK") }, silent = TRUE)
while (n == 3) {}
""",
        "cat(1 +\n)",
    ),
}  # fmt: skip
each = pytest.mark.parametrize("language", PROGRAMS)
Runs = Callable[..., JobResult]


@pytest.fixture
def runs(box) -> Runs:
    def run(language: str, source: str, *stdin: str, **limits: float) -> JobResult:
        missing = missing_tools(language, ())  # type: ignore[arg-type]
        if missing:
            package = COMMANDS[language].package  # type: ignore[index]
            pytest.skip(f"this host lacks {', '.join(missing)} (Debian: apt-get install {package})")
        job = Job(source, language=language, stdin=stdin or ("",), limits=dataclasses.replace(LIMITS, **limits))  # type: ignore[arg-type]
        return box.run(dataclasses.replace(job, stop_on_error=False))

    return run


@each
def test_a_program_answers_and_reaches_neither_files_nor_network(runs: Runs, language: str) -> None:
    result = runs(language, PROGRAMS[language].source, "41\n", "1\n", "2\n")
    assert [case.stdout.split() for case in result.cases] == [[b"42"], [b"2"], [b"3"]], result
    assert result.cases[0].outcome is JobOutcome.OK


@each
def test_one_without_end_meets_its_limit(runs: Runs, language: str) -> None:
    result = runs(language, PROGRAMS[language].source, "3\n", cpu_s=0.6, wall_s=20)
    assert result.cases[0].outcome in (JobOutcome.CPU_LIMIT, JobOutcome.WALL_LIMIT), result


@each
def test_what_does_not_compile_is_told_from_what_fails(runs: Runs, language: str) -> None:
    result = runs(language, PROGRAMS[language].broken)
    assert JobOutcome.COMPILE_ERROR in (result.outcome, *(case.outcome for case in result.cases)), result


def test_java_finds_the_file_and_the_class_that_it_wants() -> None:
    main = "public static void main(String[] args) {}"
    assert java_names(f"public class A {{ {main} }} class B {{}}") == ("A.java", "A")
    assert java_names(f"class B {{}}\npublic final class A {{ {main} }}") == ("A.java", "A")
    assert java_names("class B {} class A { static public void main(String[] a) {} }") == ("A.java", "A")
    assert java_names("interface X {}") == ("X.java", "X")
