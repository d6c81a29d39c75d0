"""Keeps what a run directory holds beside its Parquet files, and says who is at work on it.

heartbeat (who is at work) ─► directory (configuration, versions, rounds, lock)
                                 ├─► live (what the driver is doing), weights_file (which weights serve)
                                 └─► duckdb_views (its tables, for SQL)
claims (which site has which lease), segments, local_journals (journals of leases in flight),
manifests (what committed leases reported)
"""
