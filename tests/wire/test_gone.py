"""What is left of a call whose client went away: nothing, also where the server has one error for all of them."""

import gc
import weakref

import pytest

from extproc.wire.call import Call, Event, Gone


class Left(OSError):
    """As pyvoy's, of which there is one."""


async def nothing() -> Event:
    return {"type": "http.disconnect"}


async def test_a_call_is_not_kept_by_the_error_that_ended_it() -> None:
    error, kept = Left(), []

    async def gone(event: Event) -> None:
        raise error

    for _ in range(3):
        call = Call(nothing, gone, 1024)
        with pytest.raises(Gone):
            await call.write(b"an answer")
        kept.append(weakref.ref(_holder(call)))
        del call
    gc.collect()
    assert error.__traceback__ is None
    assert [one() for one in kept] == [None] * 3


class Holder:
    """What lives as long as the call: a call itself takes no weak reference."""


def _holder(call: Call) -> Holder:
    holder = Holder()
    call._frames = holder  # type: ignore[assignment]
    return holder
