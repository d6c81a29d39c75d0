"""Run `berry` as `python -m berry`."""

from berry.pipeline.cli import main

if __name__ == "__main__":  # engines spawn children that import this file
    main()
