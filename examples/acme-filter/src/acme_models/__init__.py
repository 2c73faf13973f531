"""Which models may be called, by whom."""

from acme_models.filter import ModelAllowList, ModelAllowListConfig

__all__ = ["ModelAllowList", "ModelAllowListConfig"]
