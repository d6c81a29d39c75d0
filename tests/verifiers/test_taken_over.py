# ruff: noqa: E501 (one program a line)
"""Programs that take a problem's comparisons over are refused by their text; honest ones beside them are not."""

from __future__ import annotations

import pytest

from berry.verifiers.taken_over import disallowed, without_strings

TESTS = {
    "java": "assert(f().equals(Optional.of(5l))); assert(f(new ArrayList<Long>(Arrays.asList(1l))));",
    "csharp": "Debug.Assert(F().Equals(new List<long>()));",
    "rust": 'assert_eq!(f(String::from("a")), vec![Some(1)]);',
}
HOSTILE = [
    ("cpp", "bool operator==(E, int) { return true; }"),
    ("cpp", "bool operator/**/==(E, int) { return true; }"),
    ("cpp", "bool oper\\\nator==(E, int) { return true; }"),
    ("cpp", "bool operator not_eq(E, int);"),
    ("cpp", "#define EQ ==\nbool operator EQ(E, int);"),
    ("cpp", "%:define OP operator\nbool OP==(E, int);"),
    ("cpp", "#define J(a, b) a##b\nbool J(ope, rator)==(E, int);"),
    ("cpp", "#define J(a, b, c) a%:%:b%:%:c\nbool J(op, era, tor)==(E, int);"),
    ("cpp", 'auto s = "/*"; bool operator==(E, int);'),
    ("cpp", 'auto s = R"x(")x"; bool operator==(E, int); auto t = "";'),
    ("cpp", 'extern "C" void __assert_fail();'),
    ("rust", "impl PartialEq<isize> for E { }"),
    ("rust", "use std::cmp::{PartialEq as P};"),
    ("rust", "macro_rules! m { ($t:ident) => { impl $t<isize> for E { } } }"),
    ("rust", "#[derive(PartialEq)]\nstruct String;"),
    ("rust", "use other::Thing as Some;"),
    ("rust", 'let s = r"\\"; impl PartialEq<isize> for E { } let t = "";'),
    ("rust", "fn f<'a>(x: &'a str) { } impl PartialEq<isize> for E { }"),
    ("csharp", "public static bool operator ==(E a, long b) { return true; }"),
    ("csharp", 'var s = @"\\"; class E { public static bool operator ==(E a, long b) { return true; } } var t = "";'),
    ("csharp", "class E { public bool Equals(List<long> o) { return true; } }"),
    ("csharp", "class E { public override bool Equals(object o) => true; }"),
    ("csharp", "class List<T> { }"),
    ("csharp", "namespace System { class Console { } }"),
    ("java", "class E { public boolean equals(Object o) { return true; } }"),
    ("java", "class E { Boolean equals(ArrayList<Long> o) throws Exception { return true; } }"),
    ("java", "class Optional<T> { static Optional of(Object o) { return null; } }"),
    ("java", "class \\u004fptional<T> { }"),
    ("java", "static class Arrays { }"),
    ("java", "static Mine Arrays = new Mine();"),
    ("java", "class java { static class lang { } }"),
    ("java", "class System { static java.io.InputStream in; }"),
    ("ruby", "class E\n  def ==(o)\n    true\n  end\nend"),
    ("ruby", "class Integer; def\n==(o) = true; end"),
    ("ruby", "Integer.define_method(:==) { |o| true }"),
    ("ruby", "class Integer\n  alias == equal?\nend"),
    ("ruby", "module Test::Unit::Assertions\n  def assert_equal(*) = nil\nend"),
]  # fmt: skip
HONEST = [
    ("cpp", "struct P { bool operator<(const P &o) const { return x < o.x; } int operator()(int a) { return a == 1; } };"),
    ("cpp", "#define rep(i, n) for (int i = 0; i < n; i++)\n#define name(a) x##a\nint operators = 1; operator bool();"),
    ("cpp", '// operator == is the usual one\nauto s = "operator==";'),
    ("rust", "#[derive(PartialEq, Eq)]\nstruct P { x: i32 }\nimpl Ord for P { }\nfn f<T: PartialEq>(a: T) { for i in 0..3 { } }"),
    ("rust", "// impl PartialEq for E\nuse std::collections::HashMap as Map; fn g(s: String) -> Option<String> { Some(s) }"),
    ("csharp", "var b = a.Equals(c) ? 1 : 2; if (a.SequenceEqual(c)) { } using System; List<long> l = new List<long>();"),
    ("java", "if (a.equals(b)) { } for (Object o : list) { } Map<String, Long> m; if (x instanceof String) { } Arrays.sort(a);"),
    ("java", 'static class Point implements Comparable<Point> { } String s = "class Optional"; // boolean equals(Object o) {'),
    ("java", "public static Optional<Long> f(ArrayList<Long> list) { return Optional.of(list.get(0)); }"),
    ("ruby", "def f(a)\n  a.select { |x| x == 1 }.map { |x| x != 2 }\nend\ndefine_method(:g) { |x| x == 1 }\nputs 1 if f([]) == []"),
    ("python", "class E:\n    __eq__ = 1"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "code"), HOSTILE)
def test_what_takes_comparisons_over_is_found(language: str, code: str) -> None:
    assert disallowed(language, code, TESTS.get(language, ""))


@pytest.mark.parametrize(("language", "code"), HONEST)
def test_honest_programs_are_left_alone(language: str, code: str) -> None:
    assert disallowed(language, code, TESTS.get(language, "")) is None


def test_equality_of_an_own_key_is_free_where_the_tests_do_not_ask_for_it() -> None:
    assert (
        disallowed("java", "class P { public boolean equals(Object o) { return true; } }", "assert(f() == 5l);") is None
    )


def test_code_between_strings_that_look_like_comments_is_seen() -> None:
    assert without_strings("cpp", 'a("/*"); b; c("*/"); /* d " */ e').split() == ["a(", ");", "b;", "c(", ");", "e"]
