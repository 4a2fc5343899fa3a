"""``python -m segbook``: the command line."""

from segbook.cli import main

if __name__ == "__main__":
    main(prog_name="segbook")
