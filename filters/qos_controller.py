"""QoSController:v1: how often, how much, for whom."""

from typing import Any

from extproc.ports import FilterContext
from extproc_filters.limiter import Limiter, Taken
from extproc_filters.limits import QoSControllerConfig
from extproc_filters.token_limiter import TokenLimiter

__all__ = ["QoSController", "QoSControllerConfig", "Taken"]


class QoSController(Limiter):
    """Counts requests; or is a `TokenLimiter`, if some limit is on tokens. What an extension is able to do is asked of its
    class, and an exchange whose tokens nobody counts shall not pay for it.
    """

    Config = QoSControllerConfig

    def __new__(cls, config: QoSControllerConfig, context: FilterContext) -> Any:
        """Raises: ConfigError."""
        return TokenLimiter(config, context) if config.counts_tokens else super().__new__(cls)
