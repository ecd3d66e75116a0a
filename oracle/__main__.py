"""`python -m oracle` is the command `oracle`. If a package that it needs is missing, it prints one line about that."""

import sys

from oracle import extra

__all__ = ["main"]

USAGE = 4  # `Exit.USAGE`, which cannot be imported without these packages


def main() -> int:
    """Run the command line, or print which packages are missing."""
    message = extra.missing(grading=sys.argv[1:2] == ["grade"])
    if not message:
        try:
            from oracle.cli.main import main as command

            return command()
        except ModuleNotFoundError as error:  # a package that one of the required packages needs
            message = extra.line(str(error.name))
    print(message, file=sys.stderr)
    return USAGE


if __name__ == "__main__":
    sys.exit(main())
