"""How soon Berry is there: `python -P tests/benchmarks/startup.py`.

The CPU time (user and system, seconds) of whole processes, each told as the median and the least of `--times` runs:
Python that does nothing, `import berry`, and `berry --help`. Asked are an import below 0.15 s over bare Python's and a
help below 0.5 s. CPU time and not the clock's, since what other programs do on the machine is no fault of the command.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

COMMANDS = {
    "python": ["-c", "pass"],
    "import berry": ["-c", "import berry"],
    "berry --help": ["-m", "berry", "--help"],
}


def cpu_s(words: list[str]) -> float:
    """What one process of this Python took. Raises CalledProcessError."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="runs of each, in turns (default: 10)")
    times: int = parser.parse_args().times
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(times):
        for name, words in COMMANDS.items():
            taken[name].append(cpu_s(words))
    print(f"{'':14}  {'median':>8}  {'least':>8}")
    for name, seconds in taken.items():
        print(f"{name:14}  {statistics.median(seconds):6.3f} s  {min(seconds):6.3f} s")


if __name__ == "__main__":
    main()
