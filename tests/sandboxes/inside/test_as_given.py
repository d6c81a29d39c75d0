# ruff: noqa: E501 (tests in a line each)
"""An answer is held against its arguments as they were given, whatever the tests make of them afterwards; effects on
arguments are held as they are."""

from __future__ import annotations

import pytest

EMPTIES = "def f(x):\n    x.clear()\n    return []"
POPS = "def f(x): return x.pop(0)"
SORTS = "def f(x):\n    x.sort()\n    return x[-1]"
KEEPS = "def f(x):\n    u = sorted(set(x))\n    x[: len(u)] = u\n    return len(u)"
CALLER = "def run(x):\n    r = f(x)\n    return r\n"
CASES = {
    "in one statement": (EMPTIES, "assert f([1]) == []\nx = [2, 1]\nassert f(x) == sorted(x)", False),
    "by a name": (EMPTIES, "x = [2, 1]\nr = f(x)\nassert r == sorted(x)", False),
    "by a name of a name": (EMPTIES, "x = [2, 1]\nr = f(x)\ns = list(r)\nassert s == sorted(x)", False),
    "by a helper": (EMPTIES, CALLER + "x = [2, 1]\nassert run(x) == sorted(x)", False),
    "by a helper and a name": (EMPTIES, CALLER + "x = [2, 1]\nr = run(x)\nassert r == sorted(x)", False),
    "in a loop": (EMPTIES, "for x in [[2, 1], [3]]:\n    r = f(x)\n    assert r == sorted(x)", False),
    "by a loop's name": (EMPTIES, "xs = [[2, 1], [3]]\nfor r, x in zip(map(f, xs), xs):\n    assert r == sorted(x)", False),
    "in a comprehension": (EMPTIES, "xs = [[2, 1]]\nrs = [f(x) for x in xs]\nassert rs == [sorted(x) for x in xs]", False),
    "in an if": (EMPTIES, "x = [2, 1]\nif f(x) != sorted(x):\n    raise AssertionError", False),
    "in check": (EMPTIES, "def check(c):\n    x = [2, 1]\n    got = c(x)\n    assert len(got) == len(x)", False),
    "by a name made later": (EMPTIES, "x = [2, 1]\nr = f(x)\nw = sorted(x)\nassert r == w", False),
    "by two names made later": (EMPTIES, "x = [2, 1]\nr = f(x)\nn = len(x)\nassert len(r) == n", False),
    "by a name of a name made later": (EMPTIES, "x = [2, 1]\nr = f(x)\nw = sorted(x)\nv = w[:]\nassert r == v", False),
    "by an own function, later": (EMPTIES, "def g(x): return sorted(x)\nx = [2, 1]\nr = f(x)\nw = g(x)\nassert r == w", False),
    "by a truth made later": (EMPTIES, "x = [2, 1]\nr = f(x)\nok = r == sorted(x)\nassert ok", False),
    "by a name made later in check": (EMPTIES, "def check(c):\n    for x in [[2, 1]]:\n        r = c(x)\n        w = sorted(x)\n        assert r == w", False),
    "by an annotated name made later": (EMPTIES, "x = [2, 1]\nr = f(x)\nw: list = sorted(x)\nassert r == w", False),
    "by several names made later": (EMPTIES, "x = [2, 1]\nr = f(x)\nw, n = sorted(x), 3\nassert r == w", False),
    "in a later if": (EMPTIES, "x = [2, 1]\nr = f(x)\nif r != sorted(x):\n    raise AssertionError", False),
    "in a later return": (EMPTIES, "x = [2, 1]\ndef ok():\n    r = f(x)\n    return r == sorted(x)\nassert ok()", False),
    "in a later assertEqual": (EMPTIES, "import unittest\nt = unittest.TestCase()\nx = [2, 1]\nr = f(x)\nt.assertEqual(r, sorted(x))", False),
    "gathered in a loop": (EMPTIES, 'x, w = [2, 1], []\nr = f(x)\nfor i in sorted(x):\n    w.append(i)\nassert r == w', False),
    "counted in a loop": (EMPTIES, 'x, n = [2, 1], 0\nr = f(x)\nfor _ in x:\n    n += 1\nassert len(r) == n', False),
    "gathered while": (EMPTIES, 'x, w = [2, 1], []\nr = f(x)\nwhile len(w) < len(x):\n    w.append(x[len(w)])\nassert r == sorted(w)', False),
    "added": (EMPTIES, 'x, w = [2, 1], []\nr = f(x)\nw += sorted(x)\nassert r == w', False),
    "extended": (EMPTIES, 'x, w = [2, 1], []\nr = f(x)\nw.extend(x)\nw.sort()\nassert r == w', False),
    "put into an item": (EMPTIES, 'x, w = [2, 1], {}\nr = f(x)\nw[0] = sorted(x)\nassert r == w[0]', False),
    "put into an attribute": (EMPTIES, 'class W: pass\nx = [2, 1]\nr = f(x)\nW.a = sorted(x)\nassert r == W.a', False),
    "bound with a star": (EMPTIES, 'x = [2, 1]\nr = f(x)\n*w, = sorted(x)\nassert r == w', False),
    "bound by match": (EMPTIES, 'x = [2, 1]\nr = f(x)\nmatch sorted(x):\n    case w:\n        pass\nassert r == w', False),
    "chosen by match": (EMPTIES, 'x = [2, 1]\nr = f(x)\nmatch x:\n    case []:\n        w = []\n    case _:\n        w = [1, 2]\nassert r == w', False),
    "refused by match": (EMPTIES, 'x = [2, 1]\nr = f(x)\nmatch (r, x):\n    case ([], []):\n        pass\n    case _:\n        raise AssertionError', False),
    "bound by with": (EMPTIES, 'import contextlib\nx = [2, 1]\nr = f(x)\nwith contextlib.nullcontext(sorted(x)) as w:\n    assert r == w', False),
    "bound in try": (EMPTIES, 'x = [2, 1]\nr = f(x)\ntry:\n    w = sorted(x)\nfinally:\n    pass\nassert r == w', False),
    "bound in the assert": (EMPTIES, 'x = [2, 1]\nr = f(x)\nassert (w := sorted(x)) == r', False),
    "made by a module": (EMPTIES, 'import heapq\nx = [2, 1]\nr = f(x)\nw = heapq.nsmallest(9, x)\nassert r == w', False),
    "put on a heap": (EMPTIES, 'import heapq\nx, h = [2, 1], []\nr = f(x)\nfor v in x:\n    heapq.heappush(h, v)\nassert len(r) == len(h)', False),
    "sorted where it stands": (EMPTIES, 'x = [2, 1]\nr = f(x)\nx.sort()\nassert r == x', False),
    "by another name": (EMPTIES, 'x = [2, 1]\ncase = (x, 7)\nr = f(x)\nassert r == case[0]', False),
    "a loop over nothing": (EMPTIES, 'x = [2, 1]\ny = sorted(x)\nr = f(x)\nfor i in range(len(x)):\n    assert r[i] == y[i]', False),
    "a condition of nothing": (EMPTIES, 'x = [2, 1]\nr = f(x)\nif x:\n    assert r == [1, 2]', False),
    "a flag": (EMPTIES, 'x, ok = [2, 1], True\nr = f(x)\nfor i in x:\n    if i not in r:\n        ok = False\nassert ok', False),
    "a count of errors": (EMPTIES, 'x, wrong = [2, 1], 0\nr = f(x)\nfor i in x:\n    if i not in r:\n        wrong += 1\nassert wrong == 0', False),
    "an error raised in a loop": (EMPTIES, 'x = [2, 1]\nr = f(x)\nfor i in x:\n    if i not in r:\n        raise ValueError(i)', False),
    "an index error": (EMPTIES, 'x = [2, 1]\nr = f(x)\nfor i in range(len(x)):\n    d = r[i] - sorted(x)[i]', False),
    "an own assertion": (EMPTIES, 'def same(a, b):\n    assert a == b\nx = [2, 1]\nr = f(x)\nsame(r, sorted(x))', False),
    "an own error": (EMPTIES, 'def same(a, b):\n    if a != b:\n        raise ValueError\nx = [2, 1]\nsame(f(x), sorted(x))', False),
    "an own comparison": (EMPTIES, 'def same(a, b):\n    for i in range(len(b)):\n        if a[i:] != b[i:]:\n            return False\n    return True\nx = [2, 1]\nr = f(x)\nassert same(r, sorted(x))', False),
    "an own comparison, by a name": (EMPTIES, 'def same(a, b):\n    return a == b\nx = [2, 1]\nr = f(x)\nok = same(r, sorted(x))\nassert ok', False),
    "an own function without arguments": (EMPTIES, 'def want():\n    return sorted(x)\nx = [2, 1]\nr = f(x)\nassert r == want()', False),
    "an answer from within": (EMPTIES, 'def got():\n    return r\nx = [2, 1]\nr = f(x)\nv = got()\nassert v == sorted(x)', False),
    "answers gathered": (EMPTIES, 'got, w = [], []\nfor x in [[2, 1], [3]]:\n    got.append(f(x))\n    w.append(sorted(x))\nassert got == w', False),
    "answers in a dict": (EMPTIES, 'got = {}\nfor x in [[2, 1]]:\n    got[0] = f(x)\n    assert got[0] == sorted(x)', False),
    "answers in an attribute": (EMPTIES, "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        x = [2, 1]\n        self.r = f(x)\n        self.assertEqual(self.r, sorted(x))\nT('test').debug()", False),
    "in a generator": (EMPTIES, 'def pairs():\n    for x in [[2, 1]]:\n        yield f(x), sorted(x)\nfor r, w in pairs():\n    assert r == w', False),
    "before a loop that lasts longer": (EMPTIES, 'x = [2, 1]\nr = f(x)\nassert r == sorted(x)\nwhile x:\n    x.pop()\n    f(x)', False),
    "called again before it is judged": (EMPTIES, "x = [2, 1]\na = f(x)\nb = f(x)\nassert a == sorted(x)", False),
    "another call before it is judged": (EMPTIES, "xs, got = [[2, 1], [3]], []\nfor x in xs:\n    got.append(f(x))\n    f(sorted(x))\nassert got == [sorted(x) for x in xs]", False),
    "an index of another item": ('def f(x):\n    x[0] = max(x)\n    return 0', 'x = [1, 3]\nm = max(x)\ni = f(x)\nassert x[i] == m', False),
    "made later, honestly": (SORTS, "x = [3, 1]\nr = f(x)\nw = max(x)\nn = len(x)\nassert r == w\nassert n == 2\ny = x[:]\nassert y == [1, 3]", True),
    "made later of an iterator": (SORTS, "x = [3, 1]\nr = f(x)\nit = iter([3])\nw = next(it)\nassert r == w\nm = map(int, x)\nassert list(m) == [1, 3]", True),
    "made later by a call": (POPS, "q = [1, 2, 3]\na = f(q)\nb = f(q)\nleft = len(q)\nassert (a, b) == (1, 2)\nassert left == 1", True),
    "a later if, honestly": (POPS, "q = [1, 2]\na = f(q)\nif a != 1:\n    raise AssertionError\nelif q != [2]:\n    raise AssertionError", True),
    "changed and told": (SORTS, "x = [3, 1]\nassert f(x) == 3\nassert x == [1, 3]", True),
    "changed and told by names": (SORTS, "x = [3, 1]\nr = f(x)\nassert r == 3\nassert x == [1, 3]", True),
    "changed and told in one assert": (SORTS, "x = [3, 1]\nassert f(x) == 3 and x == [1, 3]", True),
    "changed wrongly": (SORTS, "x = [3, 1]\nassert f(x) == 3\nassert x == [3, 1]", False),
    "changed and copied": (SORTS, "x = [3, 1]\nr = f(x)\ny = x[:]\nassert (r, len(y)) == (3, 2)\nassert y == [1, 3]", True),
    "one after the other": (POPS, "q = [1, 2, 3]\nassert f(q) == 1\nassert f(q) == 2\nassert q == [3]", True),
    "while it lasts": (POPS, "q, got = [1, 2, 3], []\nwhile q:\n    got.append(f(q))\nassert got == [1, 2, 3]", True),
    "in check, honestly": (POPS, "def check(c):\n    q = [1, 2]\n    first = c(q)\n    assert q == [2]\n    assert first == 1", True),
    "within try": (POPS, "q = [1]\ntry:\n    assert f(q) == 2\nexcept AssertionError:\n    pass\nassert q == []", True),
    "in a class": (POPS, "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        q = [1, 2]\n"
                   "        self.assertEqual(f(q), 1)\n        self.assertEqual(q, [2])\nT('test').debug()", True),
    "kept in front": (KEEPS, 'x = [1, 1, 2]\nk = f(x)\nassert k == 2\nassert x[:k] == [1, 2]', True),
    "kept in front, by a name": (KEEPS, 'for x, e in [([1, 1, 2], [1, 2]), ([5, 5], [5])]:\n    k = f(x)\n    assert k == len(e)\n    assert e == sorted(x[:k])', True),
    "kept in front, by items": (KEEPS, 'x, e = [1, 1, 2], [1, 2]\nk = f(x)\nassert k == 2\nfor i in range(k):\n    assert x[i] == e[i]', True),
    "kept in front, all": (KEEPS, 'def check(c):\n    x, e = [1, 1, 2], [1, 2]\n    k = c(x)\n    assert all(x[i] == e[i] for i in range(k))', True),
    "kept in front, by a helper": (KEEPS, 'def run(x, e):\n    k = f(x)\n    assert x[:k] == e\nrun([1, 1, 2], [1, 2])\nrun([3, 3], [3])', True),
    "kept in front, wrongly": ('def f(x):\n    x.append(0)\n    return 1', 'x = [1, 1, 2]\nk = f(x)\nassert x[:k] == [1, 2]', False),
    "lengthened by the tests": (POPS, 'q = [1, 2]\nassert f(q) == 1\nq.append(9)\nassert f(q) == 2\nassert f(q) == 9\nassert q == []', True),
    "two while they last": (POPS, 'for q in [[1, 2], [3, 4]]:\n    e, got = q[:], []\n    while q:\n        got.append(f(q))\n    assert got == e', True),
    "nothing left": ('def f(x): return x.pop(0) if x else None', 'q, got = [1, 2], []\nwhile q:\n    got.append(f(q))\nassert got == [1, 2]\nassert f(q) is None', True),
    "an own look at the argument": (SORTS, 'def ordered(a, e):\n    assert a == e\nx = [3, 1]\nr = f(x)\nassert r == 3\nordered(x, [1, 3])', True),
    "an error over the argument": (SORTS, 'x = [3, 1]\nr = f(x)\nif x != [1, 3]:\n    raise AssertionError\nassert r == 3', True),
    "a copy, changed on": (SORTS, 'x = [3, 1]\nr = f(x)\ny = x[:]\ny.append(4)\nassert y == [1, 3, 4]\nassert r == 3', True),
    "drawn by chance": (SORTS, 'import random\nfor _ in range(9):\n    x = [random.random() for _ in range(9)]\n    w, m = sorted(x), max(x)\n    r = f(x)\n    assert r == m\n    assert x == w', True),
    "a docstring and a future": (POPS, "'''Tests.'''\nfrom __future__ import annotations\ndef check(c):\n    '''Tests.'''\n    q = [1]\n    assert c(q) == 1\n    assert q == []", True),
    "global names": (POPS, 'n = 0\ndef check(c):\n    global n\n    q = [1, 2]\n    while n < 2:\n        n += 1\n        assert c(q) == n\n    assert not q', True),
    "with a future": (POPS, "from __future__ import annotations\nq = [1]\nassert f(q) == 1\nassert not q", True),
}  # fmt: skip


def both(box, source, tests):
    """Whether a candidate passes both trials."""
    first = box.judge(source, tests)
    return first.passed and box.judge(source, tests, as_given=first).passed


@pytest.mark.parametrize(("source", "tests", "passes"), CASES.values(), ids=CASES)
def test_an_answer_is_held_against_its_arguments_as_they_were(box, source, tests, passes):
    assert both(box, source, tests) is passes


def test_who_answers_otherwise_than_before_is_followed_to_the_end(box):
    tests = "x = [2, 1]\nr = f(x)\ns = f(r)\nassert r == sorted(x)"
    first = box.judge(EMPTIES, tests)
    assert first.passed
    other = "def f(x):\n    x.clear()\n    return [7]"
    assert not box.judge(other, tests, as_given=first).passed
