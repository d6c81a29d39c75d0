"""Says what the generator is trained for: an objective a file, with its formula, source and degenerate case."""
