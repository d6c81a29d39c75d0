"""One file a format: which rows it has, and what it needs of a run."""
