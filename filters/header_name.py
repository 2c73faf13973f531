"""The name of a header, as a filter's configuration gives it."""

from typing import Annotated

from pydantic import AfterValidator

from extproc.core.headers import check_name
from extproc.errors import Defect


def header_name(value: str) -> str:
    """In lower case. Raises: ValueError, if no filter may set it."""
    try:
        name = check_name(value.lower())
    except Defect as error:
        raise ValueError(str(error)) from None
    if name.startswith("x-extproc-"):
        raise ValueError("x-extproc-* headers are the gateway's own, and removed before any extension sees them")
    return name


HeaderName = Annotated[str, AfterValidator(header_name)]
