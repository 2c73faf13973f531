"""Egress policy for Envoy. What a filter needs is here; what its tests need is in `extproc.testing`."""

from extproc.core.exchange import Exchange
from extproc.core.filter import Filter
from extproc.core.phase import Phase
from extproc.core.verdict import Continue, Respond, Verdict

__version__ = "0.1.0"
__all__ = ["Continue", "Exchange", "Filter", "Phase", "Respond", "Verdict"]
