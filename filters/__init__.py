"""The built-in filters: policy, one file each. They use nothing that other people's cannot.

`FILTERS` is the whole catalog; registering is a row here and nothing else.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from extproc_filters.credential_injector import CredentialInjector
from extproc_filters.model_router import ModelRouter
from extproc_filters.payload_headers import PayloadHeaders
from extproc_filters.pii_detector import PIIDetector
from extproc_filters.qos_controller import QoSController
from extproc_filters.token_review import TokenReview

FILTERS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "TokenReview:v1": TokenReview,
        "QoSController:v1": QoSController,
        "CredentialInjector:v1": CredentialInjector,
        "PIIDetector:v1": PIIDetector,
        "ModelRouter:v1": ModelRouter,
        "PayloadHeaders:v1": PayloadHeaders,
    }
)

__all__ = [
    "FILTERS",
    "CredentialInjector",
    "ModelRouter",
    "PIIDetector",
    "PayloadHeaders",
    "QoSController",
    "TokenReview",
]
