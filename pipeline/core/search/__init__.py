"""Search policies: sans-I/O state machines on one problem's tree.

registry.make_search(config) ─► Search (base.py) ◄─ one file a policy
                                  ├── flight    what is awaited
                                  ├── limits    when a segment and a problem end
                                  └── outcome   node and trajectory records, digest
"""
