"""Writes and reads a run's Parquet files: three for each lease, the last of which is its commit.

list_columns ─► shards (written) ─► shard_files (which file holds a lease)
                                      ├─► merged (several leases in one file)
                                      └─► checked_read (the one reader) ─► lease_rows (rows in one form)
                                             earlier_schemas (files of earlier releases)
"""
