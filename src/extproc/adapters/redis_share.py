"""`fallback: local`: each replica counts its share by itself while the shared counters cannot be had."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from extproc.errors import Unavailable
from extproc.ports import CounterStore, Demand, Tally


@dataclass(frozen=True, slots=True)
class LocalReceipt:
    """What was taken of the local counters, and how it was asked for there."""

    demands: tuple[Demand, ...]
    receipt: object


class LocalShare:
    """A `CounterStore`: `primary`, and while that is unavailable `local` with each limit divided by `replicas`, which is how
    many processes share the limits (workers included). The local counters know nothing of what `primary` had counted: when it
    fails, up to one more limit is admitted by all replicas together. What costs more than a share is refused meanwhile, and a
    take is settled where it was taken.
    """

    def __init__(self, primary: CounterStore, local: CounterStore, replicas: int) -> None:
        if replicas < 1:
            raise ValueError("there is at least one replica")
        self._primary = primary
        self._local = local
        self._replicas = replicas

    async def take(self, demands: Sequence[Demand]) -> Tally:
        """As the port says.

        Raises: Unavailable, if the share of a limit is less than one, or the local counters are full too.
        """
        try:
            return await self._primary.take(demands)
        except Unavailable as error:
            shares = tuple(self._share(demand, error) for demand in demands)
        tally = await self._local.take(shares)
        return replace(tally, receipt=LocalReceipt(shares, tally.receipt)) if tally.admitted else tally

    async def settle(self, demands: Sequence[Demand], receipt: object, used: Sequence[int]) -> None:
        """Where it was taken: what was used of a share is charged to the share. Raises: Unavailable, ValueError."""
        if isinstance(receipt, LocalReceipt):
            await self._local.settle(receipt.demands, receipt.receipt, used)
        else:
            await self._primary.settle(demands, receipt, used)

    def _share(self, demand: Demand, error: Unavailable) -> Demand:
        limit, burst = demand.limit // self._replicas, demand.burst // self._replicas
        if limit < 1 or burst < 1:
            raise Unavailable(
                f"{error}; and of a limit of {min(demand.limit, demand.burst)} the share of one of {self._replicas} is nothing"
            ) from None
        return replace(demand, limit=limit, burst=burst)
