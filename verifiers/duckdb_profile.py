"""Opens a DuckDB database in memory; loaded into a sandbox's template, whose forks each have it for themselves.

DuckDB looks at its control group when a database is opened, and ends the process where it may see but not read that
file, as jobs may not. So it is opened before they are confined, with one thread, which a fork keeps.
"""

from __future__ import annotations

import duckdb

connection = duckdb.connect(
    ":memory:", config={"threads": 1, "memory_limit": "256MB", "enable_external_access": "false"}
)
"""An empty database without access to files, extensions or the network."""
