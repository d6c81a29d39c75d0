"""Holds the search policies: sans-I/O state machines on one problem's tree.

registry.make_search(config) ─► Search (base.py: verbs, records) ◄── one file a policy
                                  └── machine   events, stops, the end ─► hooks (what a policy answers to)
                                        ├── flight    what is awaited
                                        ├── limits    when a segment and a problem end
                                        └── outcome   node and trajectory records, digest
"""

from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.registry import make_search

__all__ = ["Search", "make_search"]
