"""Long commands say what they are at where nothing can be drawn."""

from __future__ import annotations

import threading

import pytest

from berry.pipeline.cli import progress


def test_elsewhere_than_on_a_terminal_a_task_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.01)
    said: list[str] = []
    told = threading.Event()
    real = progress._said

    def note(task: progress.Task) -> str:
        said.append(real(task))
        told.set()
        return said[-1]

    monkeypatch.setattr(progress, "_said", note)

    def wait() -> str:
        told.clear()
        assert told.wait(10)
        return said[-1]

    with progress.progress_bar() as bar:
        task = bar.add_task("reading", total=None)
        assert wait() == "reading …"
        bar.update(task, description="training", total=1.0, completed=0.25)
        wait()  # may have been begun before the update
        assert wait() == "training: 25%"
        bar.update(task, description="leases", total=2000, completed=1500)
        wait()
        assert wait() == "leases: 1,500 of 2,000"
    lines = capsys.readouterr().err.splitlines()
    assert {"reading …", "training: 25%", "leases: 1,500 of 2,000"} <= set(lines)
    count = len(said)
    assert not threading.Event().wait(0.05)
    assert len(said) == count, "it goes on after its end"
