"""Holds everything that touches a run directory.

files, remote (locations: local paths, object stores)
  ├─► list_columns ─► shards (a lease's three files, the commit) ─► checked_read (the one reader) ─► duckdb_views
  │   shard_files (which file holds a lease), merged (several leases in one), earlier_schemas   └─► lease_rows
  ├─► dataset (config, versions, rounds, lock) ─► weights_file (which weights a run has), live (what it is doing)
  ├─► segments (journals of leases in flight), jsonl_log (measurements), weight_cache (models on object stores)
  └─► heartbeat (who is at work), claims (who has which lease)
"""
