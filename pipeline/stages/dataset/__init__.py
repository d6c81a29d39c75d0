"""Writes and reads what a run stores: rows, tables, trees, and the checks and revisions of stored runs.

records ─► rows, steps, kept_tokens ─► tables ─► storage.parquet.shards       (a lease is committed)
storage.parquet.checked_read ─► reading (trees), root_chains, stored_families, logprob_samples
                    ├─► integrity ─► repair     revise (pruned or verified anew)
                    └─► compact (small files merged)     storage.run.duckdb_views ─► text_views (their texts)
"""
