"""The admin port: health, metrics, and on a loopback address what the configuration became."""

from extproc.admin.server import Admin, Health
from extproc.admin.workers import Workers

__all__ = ["Admin", "Health", "Workers"]
