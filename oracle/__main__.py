"""`python -m oracle` is `oracle`. Here it is said when something that it needs is not installed."""

import sys

from oracle import extra

__all__ = ["main"]

USAGE = 4  # `Exit.USAGE`, which cannot be imported then


def main() -> int:
    """The command line, or one line about what is missing."""
    said = extra.missing()
    if not said:
        try:
            from oracle.cli.main import main as command

            return command()
        except ModuleNotFoundError as error:  # what one of the required packages needs itself
            said = extra.line(str(error.name))
    print(said, file=sys.stderr)
    return USAGE


if __name__ == "__main__":
    sys.exit(main())
