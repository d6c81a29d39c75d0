"""`berry sandbox` by hand."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from berry.pipeline.cli.sandbox import app, parse_limits
from berry.pipeline.errors import InputError, ResourceError
from berry.sandboxes.base import MIB

runner = CliRunner()


def test_a_file_runs_with_its_input(tmp_path):
    file = tmp_path / "double.py"
    file.write_text("print(int(input()) * 2)")
    result = runner.invoke(app, ["run", str(file), "--stdin", "21"])
    assert result.exit_code == 0, result.output
    assert "42" in result.stdout
    assert "ok: " in result.output


def test_input_comes_from_a_file_too(tmp_path):
    file, data = tmp_path / "double.py", tmp_path / "in.txt"
    file.write_text("print(int(input()) * 2)")
    data.write_text("4\n")
    assert "8" in runner.invoke(app, ["run", str(file), "--stdin", f"@{data}"]).stdout


def test_a_limit_is_told(tmp_path):
    file = tmp_path / "spin.py"
    file.write_text("while True: pass")
    result = runner.invoke(app, ["run", str(file), "--limits", "cpu_s=0.2,wall_s=60"])
    assert result.exit_code == 1
    assert "hit the cpu limit" in result.output


def test_limits_are_parsed_and_refused_by_name():
    limits = parse_limits("cpu_s=1.5,memory_bytes=64m,processes=3")
    assert (limits.cpu_s, limits.memory_bytes, limits.processes) == (1.5, 64 * MIB, 3)
    for text, word in (("cpu=1", "no limit named 'cpu'"), ("cpu_s=x", "must be a number"), ("cpu_s=0", "must be > 0")):
        with pytest.raises(InputError, match=word):
            parse_limits(text)


def test_an_unknown_language_is_told_with_the_remedy(tmp_path):
    file = tmp_path / "a.xyz"
    file.write_text("")
    with pytest.raises(InputError, match="add --language"):
        runner.invoke(app, ["run", str(file)], catch_exceptions=False)
    with pytest.raises(InputError, match="No such file"):
        runner.invoke(app, ["run", str(tmp_path / "gone.py")], catch_exceptions=False)


def test_probe_prints_a_table():
    try:
        result = runner.invoke(app, ["probe"], catch_exceptions=False)
    except ResourceError:
        pytest.skip("this host can't confine code")
    for word in ("seccomp", "landlock", "mount namespace", "javascript", "multiplied by"):
        assert word in result.stdout
