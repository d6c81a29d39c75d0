"""python -m pipeline = berry."""

from pipeline.cli import main

if __name__ == "__main__":  # engines spawn children that import this file
    main()
