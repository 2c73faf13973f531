"""`python -m extproc` is `extproc`."""

import signal


def main() -> None:
    """Load the commands, which takes longest, and run one. A Ctrl-C meanwhile ends the process at once and without a word:
    nothing is open yet. Where it is ignored (a job in the background), it stays so.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from extproc.cli.main import main as run

    if usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
