"""Counting instead of timing: the interpreter's instructions in our own code, the same on a busy machine as on an idle one."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import extproc
import extproc_filters

OURS = tuple(str(Path(each.__file__ or "").resolve().parent) for each in (extproc, extproc_filters))


class Counter:
    """How many instructions were run in the engine, the codec and the filters. What C does is not in it."""

    def __init__(self) -> None:
        self.count = 0
        self._known: dict[CodeType, bool] = {}

    def calls(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:  # noqa: ARG002
        """For sys.settrace: whether to look into this frame."""
        code = frame.f_code
        if code not in self._known:
            self._known[code] = str(Path(code.co_filename).resolve()).startswith(OURS)
        if not self._known[code]:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._opcode

    def _opcode(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:  # noqa: ARG002
        self.count += event == "opcode"
        return self._opcode


async def counted(work: Callable[[], Awaitable[object]]) -> int:
    """Instructions of one `work`."""
    counter, before = Counter(), sys.gettrace()
    sys.settrace(counter.calls)
    try:
        await work()
    finally:
        sys.settrace(before)
    return counter.count
