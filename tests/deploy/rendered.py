"""The manifests of deploy/ as they are applied: by kustomize, by helm; and where their programs are."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
KUSTOMIZE: Final = DEPLOY / "kustomize"
CHART: Final = DEPLOY / "helm" / "extproc"
CONFIG: Final = KUSTOMIZE / "base" / "config"
PLATFORMS: Final = ("sidecar", "envoy-gateway", "istio")

Object = Mapping[str, Any]

_HOME: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "extproc-tools"
_GET: Final = ROOT / "tools" / "deploy" / "get.sh"
PINNED: Final = dict(re.findall(r"^(helm|kustomize|egctl)=(\S+)$", _GET.read_text(), re.MULTILINE))


def _program(name: str) -> Path | None:
    path = _HOME / "bin" / f"{name}-{PINNED[name]}"
    return path if path.exists() else None


def _kustomize() -> Sequence[str] | None:
    if kubectl := shutil.which("kubectl"):
        return (kubectl, "kustomize")
    return (str(own), "build") if (own := _program("kustomize")) else None


HELM: Final = _program("helm")
EGCTL: Final = _program("egctl")
BUILD: Final = _kustomize()
NO_HELM: Final = "" if HELM else "there is no helm: `make deploy-tools` builds it"
NO_EGCTL: Final = "" if EGCTL else "there is no egctl: `sh tools/deploy/get.sh egctl` builds it"
NO_KUSTOMIZE: Final = "" if BUILD else "there is neither kubectl nor kustomize: `make deploy-tools` builds the latter"


def definitions() -> Path | None:
    """The directory of other people's CustomResourceDefinitions, if it is there."""
    modules = (ROOT / "tools" / "deploy" / "modules.txt").read_bytes()
    folder = _HOME / "crds" / hashlib.sha256(modules).hexdigest()[:12]
    return folder if folder.is_dir() else None


NO_DEFINITIONS: Final = (
    "" if definitions() else "there are no definitions of other kinds: `make deploy-tools` gets them"
)


def run(argv: Iterable[object], **more: Any) -> str:
    """The standard output of a program. Raises: AssertionError, with what it said."""
    done = subprocess.run([str(each) for each in argv], capture_output=True, text=True, timeout=60, check=False, **more)
    assert done.returncode == 0, f"{done.args}: {done.stderr or done.stdout}"
    return done.stdout


def parsed(text: str) -> tuple[Object, ...]:
    return tuple(each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each)


@cache
def kustomized(folder: Path) -> tuple[Object, ...]:
    assert BUILD is not None, NO_KUSTOMIZE
    return parsed(run([*BUILD, folder]))


@cache
def overlay(platform: str) -> tuple[Object, ...]:
    return kustomized(KUSTOMIZE / "overlays" / platform)


def with_component(component: str, folder: Path) -> tuple[Object, ...]:
    """The sidecar's overlay and a component, as a platform engineer joins them."""
    folder.mkdir()
    text = f"resources: [{KUSTOMIZE}/overlays/sidecar]\ncomponents: [{KUSTOMIZE}/components/{component}]\n"
    relative = text.replace(str(KUSTOMIZE), "../" * (len(folder.resolve().parts) - 1) + str(KUSTOMIZE).lstrip("/"))
    (folder / "kustomization.yaml").write_text(relative)
    return kustomized(folder.resolve())


@cache
def charted(*options: str) -> tuple[Object, ...]:
    assert HELM is not None, NO_HELM
    return parsed(run([HELM, "template", "egress", CHART, "--namespace", "egress", *options]))


def name(each: Object) -> str:
    """Kind and name, for messages."""
    return f"{each['kind']} {each['metadata']['name']}"


def only(objects: Iterable[Object], kind: str, called: str = "", group: str = "") -> Object:
    """The one object of a kind (and name, and API group)."""
    found = [
        each
        for each in objects
        if each["kind"] == kind and called in ("", each["metadata"]["name"]) and each["apiVersion"].startswith(group)
    ]
    assert len(found) == 1, [name(each) for each in objects]
    return found[0]


def pod_of(objects: Iterable[Object]) -> dict[str, Any]:
    """The spec of the gateway's pods, as their platform makes them of it; of Envoy Gateway's the parts that are ours."""
    objects = tuple(objects)
    if any(each["kind"] == "Deployment" for each in objects):
        return dict(only(objects, "Deployment", "egress-gateway")["spec"]["template"]["spec"])
    provider = only(objects, "EnvoyProxy")["spec"]["provider"]["kubernetes"]
    ours, account = provider["envoyDeployment"], provider["envoyServiceAccount"]["name"]
    envoy = {"name": "envoy", "image": "envoy", **ours["container"]}
    pod = {name: value for name, value in ours["pod"].items() if name != "labels"}
    return {**pod, "serviceAccountName": account, "initContainers": ours["initContainers"], "containers": [envoy]}
