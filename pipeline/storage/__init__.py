"""Everything that touches a run directory.

files (locations: local paths, object stores) ◄── shards (a lease's three Parquet files, the commit)
                                              ◄── dataset (a run directory: config, versions, rounds, lock)
                                              ◄── journal (completed events of leases in flight)
"""
