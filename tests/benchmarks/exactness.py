"""Share of answers that come back from chat templates as they were sampled: `python -P tests/benchmarks/exactness.py`.

Answers to arithmetic problems under the tokenizer of `--model` (SmolLM2-135M) with each family's markers added. Prints
the table of docs/exports.md; a cell is the share of answers that come back exactly, and in brackets the share of their
tokens that is lost or changed where some do not.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

from berry.pipeline.engines import models
from tests.stages.export.chat_templates import FAMILIES, KINDS, comparisons, with_template


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--answers", type=int, default=64)
    chosen = parser.parse_args()
    folder = models.resolve(chosen.model)
    print(f"| template | {' | '.join(KINDS)} | lost where not exact |\n|{' --- |' * (len(KINDS) + 2)}")
    for name, family in FAMILIES.items():
        with tempfile.TemporaryDirectory() as place:
            tokens = with_template(AutoTokenizer.from_pretrained(folder), family, Path(place))
            cells, lost = [], set()
            for kind in KINDS:
                found = comparisons(tokens, family, kind, count=chosen.answers)
                changed = sum(one.changed for one in found) / sum(one.tokens for one in found)
                exact = sum(one.loss is None for one in found) / len(found)
                cells.append(f"{exact:.0%}" + (f" ({changed:.0%})" if exact < 1 else ""))
                lost |= {str(one.loss) for one in found if one.loss is not None}
            print(f"| {name} | {' | '.join(cells)} | {', '.join(sorted(lost)) or '-'} |")


if __name__ == "__main__":
    main()
