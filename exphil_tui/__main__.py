"""`python -m exphil_tui`: the same as `exphil`."""

from exphil_tui.cli import main

if __name__ == "__main__":
    main()
