"""Reads what an environment says: its next turn, or how the episode ended.

reply (JSON of the session) ─► read_reply ─► Said, Verdict, or None: the problem's verifier decides
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from berry.pipeline.config.sections.rollout.environment import Environment
from berry.pipeline.core import seeds
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.kinds.custom import verdict_of

WHOLE = 1 << 40  # characters: a reply is read as JSON, so that none may be left out


@dataclass(frozen=True, slots=True)
class Said:
    """A turn of the environment."""

    role: str
    content: str

    @property
    def raw(self) -> str:
        """As the environment's session says it."""
        return json.dumps({"content": self.content, "role": self.role}, sort_keys=True, ensure_ascii=False)


def environment_seed(run_seed: int, round_index: int, problem_id: str) -> int:
    """The seed that an environment is made with: one a problem and round, so that paths with equal turns agree."""
    return seeds.framed_seed(seeds.frame("environment", run_seed, round_index, problem_id), "", 0)


def read_reply(text: str, environment: Environment) -> Said | Verdict | None:
    """What a reply of the environment stands for: its next turn, the verdict with which the episode ends, or None where
    the problem's verifier gives that. A reply that is none of these is unverifiable, with what it was."""
    reply = json.loads(text)
    match reply:
        case {"content": str(content)}:
            role = reply.get("role", "user")
            if role in environment.roles:
                return Said(role, content)
            return _broken(f"it spoke as {role!r}, and rollout.environment.roles are {', '.join(environment.roles)}")
        case {"reward": int(reward) | float(reward)} if math.isfinite(reward):
            rest = {key: value for key, value in reply.items() if key not in ("done", "passed")}
            return verdict_of({**rest, "passed": reward >= environment.passes_from})
        case {"passed": _}:
            return verdict_of({key: value for key, value in reply.items() if key != "done"})
        case {"done": True}:
            return None
        case _:
            return _broken(f"it said {text[:200]}, which is no turn and no end of an episode")


def _broken(why: str) -> Verdict:
    return verdict(Reason.TESTS_BROKEN, note=f"the environment: {why}")
