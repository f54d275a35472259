"""``python -m stemkin.cli``: the program where it is not installed as ``stemkin``."""

from stemkin.cli import main

if __name__ == "__main__":
    main()
