"""`python -m extproc` is `extproc`."""

from extproc.cli.main import main

if __name__ == "__main__":
    main()
