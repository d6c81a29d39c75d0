"""The policies: which node of a tree grows next. One file each, with formula, source and degenerate case."""
