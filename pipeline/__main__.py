"""python -m pipeline = berry."""

from pipeline.cli import main

main()
