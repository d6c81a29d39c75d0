r"""Makes programs of which a problem's tests are a part, in the languages that are compiled or read whole.

    prelude, program, tests, key ─► source: reads a part of the word ─► program ─► tests ─► prints part and key

The tests are those of MultiPL-E: a `main` of their own (Java, Rust, C#), test functions (Go, Ruby), or statements. The
program may bring a `main` too, which is renamed. What the tests compare with is named in full, or is as the language
has it, whatever the program defines under the same name. The tests share the program's process all the same:
`program_tests` says what such a verdict is worth.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable

from berry.verifiers.specs.code import ProgramTestsSpec

HALF = 16
"""Hexadecimal digits of the word that are read, and as many that stand in the tests."""


class NoTests(ValueError):
    """Says that the tests are not of the shape that their language needs."""


def word(part: str, key: str) -> str:
    """What a program prints: the first half of what it read, and the first half of the key."""
    return part[:HALF] + key[:HALF]


def _own(*texts: str) -> str:
    """A name that none of the texts can hold, since it is made of them."""
    return "w" + hashlib.blake2b("\0".join(texts).encode("utf-8", "replace"), digest_size=8).hexdigest()


def typescript(spec: ProgramTestsSpec, code: str, key: str) -> str:
    """The tests' `require` is the one that stands before the program."""
    own = _own(code, spec.tests)
    first = f"""// @ts-nocheck
declare var require: any;
const {own}: any = ((load: any) => {{
  const fs = load('node:fs'), assert = load('node:assert');
  const read = fs.readFileSync(0), part = new Uint8Array(read), write = fs.writeSync;  // no string: heap dumps show it
  read.fill(0);  // it lies in a pool that every Buffer shows
  try {{ fs.ftruncateSync(0, 0); }} catch {{}}
  for (const held of [assert, assert.strict]) for (const name of Object.keys(held)) {{
    Object.defineProperty(held, name, {{value: held[name], writable: false, configurable: false}});
  }}
  const fixed = (name: string) => /^(node:)?assert$/.test(name) ? assert : load(name);
  return {{fixed, end: (key: string) => {{
    const word = new Uint8Array({2 * HALF + 2}).fill(10);
    for (let i = 0; i < {HALF}; i++) {{ word[i + 1] = part[i]; word[i + {HALF + 1}] = key.charCodeAt(i); }}
    write(1, word);
  }}}};
}})(require);
const {own}r = {own}.fixed, {own}e = {own}.end;
"""
    tests = re.sub(r"(?<![\w.])require\s*\(", f"{own}r(", spec.tests)
    return f"{first}{spec.prelude}\n{code}\n{tests}\n{own}e({json.dumps(key[:HALF])});\n"


_JAVA_IMPORT = re.compile(r"^[ \t]*import\s+(?:static\s+)?[\w.*]+\s*;[ \t]*$", re.MULTILINE)
_JAVA_CLASS = re.compile(r"^(?:(?:public|final|abstract|strictfp)\s+)*class\s+(\w+)", re.MULTILINE)
_JAVA_MAIN = re.compile(r"\bstatic\s+void\s+main\s*\(")


def java(spec: ProgramTestsSpec, code: str, key: str) -> str:
    """The tests are a class below the program's, so that they call its functions by their names; assertions are on, at
    the end too. Raises NoTests."""
    if not _JAVA_MAIN.search(spec.tests):
        raise NoTests("tests must hold `public static void main(String[] args) { … }`")
    own = _own(code, spec.tests)
    lines = (line.strip() for text in (spec.prelude, code) for line in _JAVA_IMPORT.findall(text))
    imports = dict.fromkeys(line for line in lines if "org.javatuples" not in line)  # MultiPL-E's prompts name it
    prelude, body = (_JAVA_IMPORT.sub("", text) for text in (spec.prelude, code))
    classes = [match[1] for match in _JAVA_CLASS.finditer(body)]
    if not classes:
        classes, body = ["Problem"], f"class Problem {{\n{body}\n}}"
    base = "Problem" if "Problem" in classes else classes[-1]
    body = _JAVA_CLASS.sub(lambda m: f"class {m[1]}", body)
    first = f"""class {own} {{
  public static void main(String[] args) throws Exception {{
    byte[] part = System.in.readNBytes({HALF});
    while (System.in.read() >= 0) {{ }}
    ClassLoader.getSystemClassLoader().setDefaultAssertionStatus(true);
    {own}t.main(args);
    if (!{own}t.{own}on()) throw new java.lang.AssertionError("the program switched assertions off");
    java.io.FileOutputStream out = new java.io.FileOutputStream(java.io.FileDescriptor.out);
    System.out.flush();
    out.write(10); out.write(part); out.write("{key[:HALF]}\\n".getBytes());
  }}
}}
"""
    lines = "\n".join(imports)
    on = f"static boolean {own}on() {{ boolean on = false; assert on = true; return on; }}"
    return f"{lines}\n{first}{prelude.strip()}\n{body}\nclass {own}t extends {base} {{\n{on}\n{spec.tests}\n}}\n"


_GO_PACKAGE = re.compile(r"^[ \t]*package\s+\w+[ \t]*;?[ \t]*$", re.MULTILINE)
_GO_IMPORT = re.compile(r"^[ \t]*import\s*(?:\(([^()]*)\)|((?:[\w.]+\s+)?\"[^\"\n]+\"))[ \t]*;?[ \t]*$", re.MULTILINE)
_GO_ENTRY = re.compile(r"(?:[\w.]+\s+)?\"([^\"\n]+)\"")
_GO_TEST = re.compile(r"^func\s+(Test\w+)\s*\(\s*\w+\s+\*testing\.T\s*\)", re.MULTILINE)


def go(spec: ProgramTestsSpec, code: str, key: str) -> str:
    """The tests run as `go test` runs them; imports of all parts are gathered, the tests' own only where used. Raises
    NoTests."""
    names = _GO_TEST.findall(spec.tests)
    if not names:
        raise NoTests("tests must hold a function `TestName(t *testing.T)`")
    own = _own(code, spec.tests)
    imports: dict[str, None] = {}
    for text, given in ((code, True), (spec.prelude, False), (spec.tests, False)):
        for block in _GO_IMPORT.finditer(text):
            for entry in _GO_ENTRY.finditer(block[1] or block[2]):
                used = f"{entry[1].rpartition('/')[2]}."
                if given or used in code or used in spec.tests:
                    imports[" ".join(entry[0].split())] = None  # under each name, or the program could take one over
    for path in ("testing", "fmt"):
        if f"{path}." in spec.tests:
            imports[f'"{path}"'] = None
    mine = [f'{own}{path} "{path}"' for path in ("io", "os", "testing")]
    prelude, body, tests = (_GO_IMPORT.sub("", _GO_PACKAGE.sub("", t)) for t in (spec.prelude, code, spec.tests))
    body = re.sub(r"^func\s+main\s*\(\s*\)", f"func {own}main()", body, flags=re.MULTILINE)
    all_pass = " && ".join(f't.Run("{name}", {name})' for name in names)
    last = f"""func main() {{
  part, _ := {own}io.ReadAll({own}os.Stdin)
  {own}testing.Main(
    func(_, _ string) (bool, error) {{ return true, nil }},
    []{own}testing.InternalTest{{{{"all", func(t *{own}testing.T) {{
      if {all_pass} {{ {own}os.Stdout.WriteString("\\n" + string(part[:{HALF}]) + "{key[:HALF]}\\n") }}
    }}}}}}, nil, nil)
}}
"""
    lines = "\n".join([*imports, *mine])
    return f"package main\nimport (\n{lines}\n)\n{prelude.strip()}\n{body}\n{tests}\n{last}"


_RUST_MAIN = re.compile(r"\bfn\s+main\s*\(\s*\)")
_RUST_MACRO = re.compile(r"(?<![\w:])(assert|assert_eq|assert_ne|panic|vec|format|matches)!")


def rust(spec: ProgramTestsSpec, code: str, key: str) -> str:
    """The tests' macros are the standard library's by their whole names. Raises NoTests."""
    if not _RUST_MAIN.search(spec.tests):
        raise NoTests("tests must hold `fn main() { … }`")
    own = _own(code, spec.tests)
    tests = _RUST_MAIN.sub(f"fn {own}()", _RUST_MACRO.sub(r"::std::\1!", spec.tests))
    body = _RUST_MAIN.sub(f"#[allow(dead_code)] fn {own}main()", code)
    last = f"""fn main() {{
  let mut part = ::std::string::String::new();
  ::std::io::Read::read_to_string(&mut ::std::io::stdin(), &mut part).unwrap();
  {own}();
  ::std::println!("\\n{{}}{key[:HALF]}", &part[..{HALF}]);
}}
"""
    return f"{spec.prelude}\n{body}\n{tests}\n{last}"


_USING = re.compile(r"^[ \t]*using\s+(?:static\s+)?[\w.]+\s*(?:=\s*[\w.<>,\s]+)?;[ \t]*\r?$", re.MULTILINE)
_CSHARP_CLASS = re.compile(
    r"^([ \t]*)(?:(?:public|internal|static|sealed|abstract|partial)\s+)*class\s+(\w+)", re.MULTILINE
)
_CSHARP_MAIN = re.compile(r"\bstatic\s+(?:async\s+)?([\w.]+)\s+Main\s*\(")
_CSHARP_ASSERT = re.compile(r"(?<![\w.])(?:System\.Diagnostics\.)?Debug\.Assert\s*\(")


def csharp(spec: ProgramTestsSpec, code: str, key: str) -> str:
    """The tests are a class below the program's, as Java's are; `Debug.Assert` throws, which mono's does not. Raises
    NoTests."""
    if not _CSHARP_MAIN.search(spec.tests):
        raise NoTests("tests must hold `public static void Main(string[] args) { … }`")
    own = _own(code, spec.tests)
    usings = dict.fromkeys(line.strip() for text in (spec.prelude, code) for line in _USING.findall(text))
    prelude, body = (_USING.sub("", text) for text in (spec.prelude, code))
    spaces = [f"using {name};" for name in dict.fromkeys(re.findall(r"\bnamespace\s+([\w.]+)\s*\{", body))]
    classes = [match[2] for match in _CSHARP_CLASS.finditer(body)]
    if not classes:
        classes, body = ["Problem"], f"class Problem {{\n{body}\n}}"
    base = "Problem" if "Problem" in classes else classes[-1]
    body = _CSHARP_CLASS.sub(lambda m: f"{m[1]}public class {m[2]}", body)
    body = _CSHARP_MAIN.sub(rf"static \1 {own}main(", body)
    tests = _CSHARP_MAIN.sub(rf"static \1 {own}test(", _CSHARP_ASSERT.sub(f"{own}.Check(", spec.tests))
    first = f"""static class {own} {{
  internal static void Check(bool holds, string told = "") {{
    if (!holds) throw new global::System.Exception("assertion failed " + told);
  }}
  static void Main() {{
    string part = global::System.Console.In.ReadToEnd();
    {own}t.{own}test(new string[0]);
    global::System.Console.Out.Flush();
    var bytes = global::System.Text.Encoding.ASCII.GetBytes("\\n" + part.Substring(0, {HALF}) + "{key[:HALF]}\\n");
    using (var output = global::System.Console.OpenStandardOutput()) output.Write(bytes, 0, bytes.Length);
  }}
}}
"""
    lines = "\n".join([*usings, *spaces])
    return f"{lines}\n{first}{prelude.strip()}\n{body}\npublic class {own}t : {base} {{\n{tests}\n}}\n"


_PHP_TAG = re.compile(r"<\?(?:php)?|\?>")


def php(spec: ProgramTestsSpec, code: str, key: str) -> str:
    """The part of the word is held by a closure."""
    own = _own(code, spec.tests)
    first = (
        f"<?php\n${own} = (function () {{ $part = stream_get_contents(STDIN);"
        " return static function ($key) use ($part) {"
        f' echo "\\n", \\substr($part, 0, {HALF}), $key, "\\n"; }}; }})();\n'
    )
    prelude, body, tests = (_PHP_TAG.sub("", text) for text in (spec.prelude, code, spec.tests))
    return f'{first}{prelude}\n{body}\n{tests}\n${own}("{key[:HALF]}");\n'


def ruby(spec: ProgramTestsSpec, code: str, key: str) -> str:
    """Test cases of test/unit run at the end, not as the process ends."""
    own = _own(code, spec.tests)
    first = f"{own} = $stdin.read\n"
    last = f'print "\\n", {own}[0, {HALF}], "{key[:HALF]}\\n"\n'
    if "Test::Unit" in spec.tests:
        first += "require 'test/unit'\nTest::Unit::AutoRunner.need_auto_run = false\n"
        last = f"exit!(1) unless Test::Unit::AutoRunner.run(false, nil, ['--no-use-color'])\n{last}"
    return f"{first}{spec.prelude}\n{code}\n{spec.tests}\n{last}"


def r(spec: ProgramTestsSpec, code: str, key: str) -> str:
    """What the tests compare with is base's, from an environment that stands before the program's own."""
    own = _own(code, spec.tests)
    first = f'{own} <- readLines(file("stdin"), 1)\n'
    names = ("identical", "quit", "all.equal", "isTRUE", "stop", "stopifnot", "c", "list", "!", "if", "==", "all", "{")
    kept = "".join(f"assign('{name}', base::`{name}`, {own}e); " for name in names)
    first += f"{own}e <- new.env(); {kept}lockEnvironment({own}e, bindings = TRUE)\n"
    first += f"{own}e <- new.env(parent = {own}e)\n"
    again = "".join(f"`{name}` <- base::`{name}`\n" for name in names)
    last = f'base::cat("\\n", base::substr({own}, 1, {HALF}), "{key[:HALF]}", "\\n", sep = "")\n'
    tests = f"base::evalq({{\n{spec.tests}\n}}, {own}e)"
    return f"{first}{spec.prelude}\n{code}\n{again}{tests}\n{last}"


MAKERS: dict[str, Callable[[ProgramTestsSpec, str, str], str]] = {
    "typescript": typescript,
    "java": java,
    "go": go,
    "rust": rust,
    "csharp": csharp,
    "php": php,
    "ruby": ruby,
    "r": r,
}
"""By language; each raises NoTests for tests of another shape."""
