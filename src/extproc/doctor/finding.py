"""What the doctor says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: where, what is wrong, and what would be right."""

    where: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        """One line for a terminal, which nothing that somebody else wrote can make anything else of."""
        text = f"{self.where}: {self.problem}; {self.remedy}"
        return "".join(each if each.isprintable() else "?" for each in text)


@dataclass(frozen=True, slots=True)
class Needs:
    """What the server says that Envoy must be configured for. `budget` is seconds; `listen` are the server's addresses;
    `upstream_clusters` must carry the upstream filter.
    """

    request_body: bool
    response_body: bool
    max_body_bytes: int
    budget: float
    listen: tuple[str, ...]
    upstream_clusters: tuple[str, ...] = ()
