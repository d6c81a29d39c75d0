"""Attacks with children that flood the host with frames, or send values that take long to read."""

from __future__ import annotations

FRAME = """
import os, struct, json
def frame(body):
    return struct.pack('=I', len(body)) + body
def result(value):
    return frame(json.dumps(['ok', value, None, None, 0, 0, 0.0]).encode())
def send(data):
    while data: data = data[os.write(3, data):]
"""

FLOODS = {
    "small_frames": "while True: send(frame(b'x') * 1000)",
    "empty_frames": "while True: send(bytes(4) * 1000)",
    "results": "while True: send(result(2))",
    "long_frames": "while True: send(frame(b'[' + b'0,' * 400000 + b'0]'))",
    "final_frames": "while True: send(frame(b'end' + bytes(17) + b'ok') * 1000)",
    "broken_final_frames": "while True: send(frame(b'end') * 1000)",
    "a_frame_too_long": "send(b'\\xff\\xff\\xff\\x7f')\nwhile True: send(bytes(100000))",
    "from_a_thread": "import threading\ndef g():\n    while True: send(result(2))\nthreading.Thread(target=g).start()",
}
"""Python after FRAME."""

SLOW = {
    "half_of_the_keys_share_a_hash": "{'~': 's', 'v': [i * (2**61 - 1) for i in range(1, 9000)] + list(range(9000))}",
    "keys_that_probe_alike": "{'~': 's', 'v': [i << 44 for i in range(1 << 15)]}",
    "a_dict_of_equal_hashes": "{'~': 'd', 'k': [i * (2**61 - 1) for i in range(1, 9000)], 'v': [0] * 8999}",
    "long_keys_of_equal_hash": (
        "{'~': 's', 'v': [{'~': 't', 'v': [999] * 450 + [i * (2**61 - 1)]} for i in range(400)]}"
    ),
    "sets_as_keys_of_equal_hash": (
        "{'~': 'd', 'k': [{'~': 'f', 'v': [*range(300), i * (2**61 - 1)]} for i in range(400)], 'v': [0] * 400}"
    ),
    "many_deques": "[{'~': 'q', 'v': []}] * 40000",
    "many_lists": "[[]] * 250000",
    "a_long_fraction": "{'~': 'F', 'v': [hex(3**500000), hex(2**790000 + 1)]}",
    "many_fractions": "[{'~': 'F', 'v': [hex(3**10000), hex(2**15900 + 1)]}] * 100",
    "deep_lists": "deep('[', ']')",
    "deep_tuples": 'deep(\'{"~":"t","v":[\', \']}\')',
    "a_huge_exponent": "{'~': 'D', 'v': '1e999999999'}",
    "many_digits": "raw('1' * 900000)",
    "many_small_tags": "[{'~': 't', 'v': []}] * 40000",
}
"""Expressions for VALUE in MAKE, after FRAME: hostile encodings of a value."""

MAKE = """
def deep(open, close, n=900): return Raw(open * n + close * n)
def raw(text): return Raw(text)
class Raw(str): pass
def f(x):
    value = VALUE
    text = value if type(value) is Raw else json.dumps(value)
    send(frame(('["ok",' + text + ',null,null,0,0,0.0]').encode()))
    os._exit(0)
"""
"""Sends VALUE as the result of a call."""
