"""Integrates over time how many sequences an engine runs. Pure: the clock comes in as an argument, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from berry.pipeline.engines.base import Counters


@dataclass(slots=True)
class Occupancy:
    """Time integrals of the running sequences while there was any work.

    `running` comes from the engine's own reports, which stop when it goes idle; `live` is what was asked for
    and has not ended, known here exactly, so it bounds the last report.
    """

    running: int = 0
    waiting: int = 0
    live: int = 0
    running_integral: float = 0.0
    busy_s: float = 0.0
    _last_s: float = 0.0
    _step_s: float = 0.0  # booked since the last `step`, in seconds and sequence-seconds
    _step_integral: float = 0.0
    _steps: bool = False

    def advance(self, now_s: float) -> None:
        """Book the time since the last call under the state that held."""
        elapsed = max(0.0, now_s - self._last_s)
        if self.live:
            booked = elapsed * min(self.running, self.live)
            self.busy_s += elapsed
            self.running_integral += booked
            self._step_s += elapsed
            self._step_integral += booked
        self._last_s = now_s

    def begin(self, now_s: float) -> None:
        self.advance(now_s)
        self.live += 1

    def end(self, now_s: float) -> None:
        self.advance(now_s)
        self.live -= 1

    def report(self, running: int, waiting: int, now_s: float) -> None:
        self.advance(now_s)
        self.running, self.waiting = running, waiting

    def step(self, running: int, waiting: int, decoded: int, now_s: float) -> None:
        """As `report`, from an engine that works in steps: `running` is what is left after the step, `decoded` the
        sequences that were in it. The step's time is booked under those: with short segments many end in each step,
        and their places are filled before the next."""
        self.report(running, waiting, now_s)
        self.running_integral += self._step_s * decoded - self._step_integral
        self._step_s = self._step_integral = 0.0
        self._steps = True

    def counted_in(self, totals: Counters, now_s: float) -> Counters:
        """An engine's totals with what it runs now, and the integrals up to now."""
        self.advance(now_s)
        integral, settled_s = self.settled
        return replace(
            totals,
            running=self.running_now,
            waiting=self.waiting_now,
            running_integral=integral,
            busy_s=self.busy_s,
            settled_s=settled_s,
        )

    @property
    def settled(self) -> tuple[float, float]:
        """The integral, in sequence-seconds, and the moment up to which it is exact: the time of a step that has not
        ended is left out, since what ran in it is booked at its end."""
        if not self._steps:
            return self.running_integral, self._last_s
        return self.running_integral - self._step_integral, self._last_s - self._step_s

    @property
    def running_now(self) -> int:
        """Sequences that are decoded now, as far as the engine's last step and what is open tell."""
        return min(self.running, self.live)

    @property
    def waiting_now(self) -> int:
        """Sequences that are open and not decoded yet."""
        return self.live - self.running_now
