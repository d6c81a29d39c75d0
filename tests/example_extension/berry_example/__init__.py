"""One of each part that a package can add to Berry; pyproject.toml announces them by entry points."""
