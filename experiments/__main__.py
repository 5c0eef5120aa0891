"""Start the command line: ``python -m experiments``."""

from experiments import _cli

if __name__ == "__main__":
    _cli.main()
