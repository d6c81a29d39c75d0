"""Reads and writes all that lies in a run directory, on a local disk or in an object store.

files, remote, s3_listing (locations: local paths, object stores)
  ├─► jsonl_log (measurements, line by line), weight_cache (models kept on object stores)
  ├─► parquet (the three files of a lease: written, named, merged, read)
  └─► run (the directory itself: configuration, lock, weights, journals, who is at work)
"""
