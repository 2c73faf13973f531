"""What happens between the first line of the program and its first command."""

import signal
import subprocess
import sys

import pytest

LOADING = """
import signal, sys
import extproc.__main__
signal.signal(signal.SIGINT, {handler})

class Loading:
    def find_spec(self, name, path, target=None):
        if name == "extproc.cli.main":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Loading())
sys.argv = ["extproc", "--version"]
extproc.__main__.main()
"""
"""A Ctrl-C at the moment at which the commands are loaded."""


@pytest.mark.parametrize(("handler", "code"), [("signal.default_int_handler", -signal.SIGINT), ("signal.SIG_IGN", 0)])
def test_ctrl_c_while_it_loads_ends_it_without_a_word_unless_it_is_ignored(handler: str, code: int) -> None:
    argv = [sys.executable, "-c", LOADING.format(handler=handler)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr, ran.stdout != "") == (code, "", code == 0)
