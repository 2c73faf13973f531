"""`extproc doctor`: does the gateway that runs do what the configuration wants?

Answers of the two admin ports go in, findings come out: what asks is in `ask` and `examine`, what judges knows no network.
"""

from extproc.doctor.examine import examine
from extproc.doctor.finding import Finding

__all__ = ["Finding", "examine"]
