"""Two sites, two processes that know each other only through the store, share one run. Every problem counts once, and
between rounds one of them learns for both."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from berry.pipeline.report.status import gather
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.run import run
from berry.pipeline.stages.dataset.maintenance.repair import check_run
from berry.pipeline.stages.dataset.text_views import connect
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.run import claims
from berry.pipeline.storage.run.directory import open_run
from berry.pipeline.storage.run.weights_file import weights_after

pytestmark = pytest.mark.slow

LEASES = 6
PACED: dict[str, Any] = {
    "engine": {"type": "synthetic", "tokens_per_s": 60, "max_num_seqs": 16},
    "rollout": {
        "policy": {"type": "fixed", "branching": [3, 2]},
        "step": {"type": "delimiter", "delimiters": ["\n"]},
        "problems_in_flight": 4,
    },
    "problems": [{"type": "synthetic", "count": 4 * LEASES, "seed": 3}],
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, job: Any, quiet: Any, rows: Any) -> list[tuple[Any, ...]]:
    place = str(tmp_path_factory.mktemp("whole") / "run")
    assert run(job(rollout=PACED["rollout"]), Launch(place, local=True), quiet).finished
    return rows(place)


def start(berry: Any, place: str, site: str, **changes: Any) -> Any:
    path = str(berry.config(**PACED | changes))
    return berry.start("run", path, "--local", "--run", place, f"storage.site={site}", "storage.silent_s=2")


def owners(location: Location) -> set[str]:
    """Sites that hold a claim now."""
    found = (claims.owner(location, 0, claim) for claim in claims.latest(location, 0).values())
    return {owner.site for owner in found if owner is not None}


def seen(place: str) -> dict[str, str]:
    """What `berry status` says of each site."""
    return {site["site"]: site["state"].partition(":")[0] for site in gather(open_run(place), now=time.time())["sites"]}


def commits(location: Location) -> list[str]:
    return location.names("round=0/trajectories")


def assert_whole(place: str, found_rows: list[tuple[Any, ...]], undisturbed: list[tuple[Any, ...]]) -> None:
    assert found_rows == undisturbed
    found = check_run(open_run(place))
    assert (found.leases, found.faults, found.notes) == (LEASES, [], [])
    location = locate(place)
    assert claims.latest(location, 0) == {}
    assert all(location.get(f"round=0/decided/{lease:06d}") == b"" for lease in range(LEASES))


def test_a_site_that_is_killed_leaves_its_leases_to_the_other(
    s3: Any, berry: Any, until: Callable[..., None], undisturbed: Any, rows: Any
) -> None:
    berry.environment, place = s3.env, s3.url("runs/shared")
    west, east = start(berry, place, "west"), start(berry, place, "east")
    location = locate(place)
    until(lambda: owners(location) == {"west", "east"}, what="a claim of both sites")
    until(lambda: seen(place) == {"east": "running", "west": "running"}, what="a word of both sites")
    west.send_signal(signal.SIGKILL)
    west.wait()
    assert seen(place) == {"east": "running", "west": "lost"}
    assert len(commits(location)) < LEASES, "the run was over before the site was killed"
    out, _ = east.communicate(timeout=120)
    assert east.returncode == 0, out
    assert_whole(place, rows(place), undisturbed)
    assert re.search(r"trajectories\s+144", out), "its summary is of the whole run"


def test_a_site_is_killed_and_another_silent_until_all_is_done(
    berry: Any, until: Callable[..., None], undisturbed: Any, rows: Any
) -> None:
    place = str(berry.folder / "shared")
    sites = {"west": start(berry, place, "west"), "north": start(berry, place, "north"), "east": None}
    location = locate(place)
    until(lambda: owners(location) == {"west", "north"}, what="a claim of both sites")
    sites["west"].send_signal(signal.SIGSTOP)
    sites["north"].send_signal(signal.SIGKILL)
    assert len(commits(location)) < LEASES, "the run was over before the sites were disturbed"
    sites["east"] = start(berry, place, "east")
    out, _ = sites["east"].communicate(timeout=120)
    assert sites["east"].returncode == 0, out
    done = {name: location.get(f"round=0/trajectories/{name}") for name in commits(location)}
    assert len(done) == LEASES
    sites["west"].send_signal(signal.SIGCONT)
    out, _ = sites["west"].communicate(timeout=120)
    assert sites["west"].returncode == 0, out
    assert {name: location.get(f"round=0/trajectories/{name}") for name in commits(location)} == done
    assert_whole(place, rows(place), undisturbed)


def test_one_site_learns_for_both_and_another_when_that_one_dies_over_it(
    berry: Any, until: Callable[..., None], undisturbed: Any
) -> None:
    training = {"backbone": {"type": "fresh", "layers": 1, "hidden": 16, "heads": 2}, "epochs": 1, "per_problem": 3}
    rounds = {"rewards": {"training": training}, "rounds": {"count": 2, "train": ["prm"]}}
    place = str(berry.folder / "shared")
    sites = {site: start(berry, place, site, **rounds) for site in ("west", "east")}
    location = locate(place)
    until(lambda: claims.last_turn(location, 0) == 0, within_s=120, what="a site that learns")
    first = claims.turn_of(location, 0, 0)
    assert first is not None
    assert len(commits(location)) == LEASES, "a site learns from the whole round"
    learner = sites.pop(first.site)
    learner.send_signal(signal.SIGKILL)
    learner.wait()
    (other,) = sites.values()
    out, _ = other.communicate(timeout=200)
    assert other.returncode == 0, out
    assert claims.last_turn(location, 0) == 1
    after = weights_after(open_run(place), 0)
    assert after is not None
    assert after.rewards["prm"].folder == "round=0/weights/prm.1"
    stored = connect(open_run(place))
    asked = "select trajectory_id, response, verdict, kept from trajectories where round = 0 order by 1"
    assert stored.execute(asked).fetchall() == undisturbed
    scored = "select round, count(*), count(prm_last) from trajectories group by round order by round"
    assert stored.execute(scored).fetchall() == [(0, 144, 0), (1, 144, 144)]
    assert check_run(open_run(place)).faults == []
