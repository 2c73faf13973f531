"""A real API server that knows the kinds of others, and judges manifests by server-side dry runs."""

import atexit
import json
import signal
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.deploy.rendered import NO_DEFINITIONS, Object, definitions
from tests.e2e.processes import wait_until
from tests.servers import kubernetes
from tests.servers.kubernetes import ApiServer

MISSING: Final = kubernetes.MISSING or NO_DEFINITIONS
PATCH: Final = {"content-type": "application/apply-patch+yaml"}
CRD: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WANTED: Final = frozenset(
    {
        "gatewayclasses", "gateways", "httproutes", "backends", "backendtrafficpolicies", "clienttrafficpolicies",
        "envoyextensionpolicies", "envoypatchpolicies", "envoyproxies", "envoyfilters", "serviceentries", "destinationrules",
        "virtualservices", "scaledobjects", "podmonitors", "prometheusrules",
    }
)  # fmt: skip
"""The kinds that deploy/ has, of those in the definitions."""


class Cluster:
    """The API server with those kinds. What is applied for real (namespaces alone) stays."""

    def __init__(self, server: ApiServer) -> None:
        self._http = server._admin
        folder = definitions()
        assert folder is not None, NO_DEFINITIONS
        made = [self._define(each) for path in sorted(folder.iterdir()) for each in _read(path)]
        wait_until(lambda: all(self._established(name) for name in made if name))
        self._resources = self._discovered()

    def dry_run(self, each: Object) -> str:
        """What the API server says against it, or nothing."""
        answer = self._apply(each, dry=True)
        return "" if answer.is_success else f"{each['kind']} {each['metadata']['name']}: {answer.json()['message']}"

    def warnings(self, each: Object) -> list[str]:
        """What it warns of, a violation of a Pod Security Standard among it."""
        return self._apply(each, dry=True).headers.get_list("warning")

    def apply(self, each: Object) -> None:
        self._apply(each, dry=False).raise_for_status()

    def _apply(self, each: Object, *, dry: bool) -> httpx.Response:
        params = {
            "fieldManager": "test",
            "fieldValidation": "Strict",
            "force": "true",
            **({"dryRun": "All"} if dry else {}),
        }
        content = json.dumps(each)
        return self._http.patch(self._path(each), params=params, headers=PATCH, content=content)

    def _path(self, each: Object) -> str:
        version, kind, metadata = each["apiVersion"], each["kind"], each["metadata"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural, namespaced = self._resources[version, kind]
        place = f"/namespaces/{metadata['namespace']}" if namespaced else ""
        return f"{root}{place}/{plural}/{metadata['name']}"

    def _define(self, definition: Mapping[str, Any]) -> str:
        if definition.get("kind") != "CustomResourceDefinition" or definition["spec"]["names"]["plural"] not in WANTED:
            return ""
        name = definition["metadata"]["name"]
        content = json.dumps(definition)
        answer = self._http.patch(f"{CRD}/{name}", params={"fieldManager": "test"}, headers=PATCH, content=content)
        assert answer.is_success, answer.text
        return str(name)

    def _established(self, name: str) -> bool:
        conditions = self._http.get(f"{CRD}/{name}").json().get("status", {}).get("conditions", [])
        return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

    def _discovered(self) -> Mapping[tuple[str, str], tuple[str, bool]]:
        groups = self._http.get("/apis").json()["groups"]
        versions = ["v1", *(version["groupVersion"] for group in groups for version in group["versions"])]
        found = {}
        for version in versions:
            listed = self._http.get(f"/apis/{version}" if "/" in version else f"/api/{version}").json()
            for one in listed.get("resources", []):
                if "/" not in one["name"]:
                    found[version, one["kind"]] = (one["name"], one["namespaced"])
        return found


@cache
def cluster() -> Cluster:
    """One for the whole run."""
    server = kubernetes.shared()
    atexit.register(_end, server)  # before its own, which waits for an orderly end
    made = Cluster(server)
    namespace: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace"}
    for one in ("egress", "ai-workloads"):
        made.apply({**namespace, "metadata": {"name": one}})
    return made


def _end(server: ApiServer) -> None:
    """At once: with so many kinds it takes its time, and there is nothing to save."""
    for process in reversed(server._processes):
        process.stop(signal.SIGKILL)


def _read(path: Path) -> list[Mapping[str, Any]]:
    return [each for each in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader) if each]
