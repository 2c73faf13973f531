"""Documents of drafts that are accepted beside our own, with the fields that are served and no other (docs/interop.md).

Sources: proposal 7 and the PayloadProcessor draft of wg-ai-gateway (GEP-5091), and its prototype's XBackendDestination,
https://github.com/kubernetes-sigs/wg-ai-gateway
"""

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from extproc.policy.documents import ExtensionSpec, Metadata, ServerName, Short, Text
from extproc.policy.names import HeaderName, Label, Many, Name, Port
from extproc.schema import Model

PAYLOAD: Final = "gateway.networking.k8s.io/v1alpha1"
PROTOTYPE: Final = "ainetworking.prototype.x-k8s.io/v0alpha0"


class DraftTarget(Model):
    """The Gateway of this process, or one of its HTTPRoutes."""

    unimplemented: ClassVar[frozenset[str]] = frozenset({"sectionName"})
    group: Literal["gateway.networking.k8s.io"]
    kind: Literal["Gateway", "HTTPRoute"]
    name: Name


class DraftHeader(Model):
    """`value` is CEL; what of it is served, PayloadHeaders says."""

    name: HeaderName
    value: Text


class InProcessRequest(Model):
    set_headers: Annotated[Many[DraftHeader], Field(max_length=16)] = ()
    remove_headers: Annotated[Many[HeaderName], Field(max_length=16)] = ()


class InProcess(Model):
    request: InProcessRequest


class Processor(Model):
    """One step. `ext_process` is read so that it can be refused by its name."""

    name: Label
    type: Literal["InProcess", "ExtProcess"]
    failure_mode: Literal["FailClosed", "FailOpen"] = "FailClosed"
    timeout: Short | None = None
    in_process: InProcess | None = None
    ext_process: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _served(self) -> Self:
        if self.type == "ExtProcess" or self.ext_process is not None:
            raise ValueError(
                "ExtProcess is not served: this server is itself what Envoy asks. Write an extension of a type that does the"
                " work, or let Envoy ask that service with an ext_proc filter of its own"
            )
        if self.in_process is None:
            raise ValueError("`type: InProcess` needs `inProcess`")
        return self


class PayloadProcessorSpec(Model):
    target_ref: DraftTarget
    phase: Literal["PreRouting", "PostRouting"]
    processors: Annotated[Many[Processor], Field(min_length=1, max_length=16)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.phase == "PreRouting" and self.target_ref.kind != "Gateway":
            raise ValueError(
                "`phase: PreRouting` is before an HTTPRoute is chosen: target the Gateway, or say PostRouting"
            )
        names = [each.name for each in self.processors]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{twice!r} is the name of two processors: each has its own")
        return self


class PayloadProcessor(Model):
    """Steps over the request's payload, in their order."""

    unimplemented: ClassVar[frozenset[str]] = frozenset(
        {"sectionName", "setBodyFields", "removeBodyFields", "response", "status"}
    )
    api_version: Literal["gateway.networking.k8s.io/v1alpha1"]
    kind: Literal["PayloadProcessor"]
    metadata: Metadata
    spec: PayloadProcessorSpec


class DraftTLS(Model):
    mode: Literal["Simple", "None"]
    sni: Annotated[ServerName | None, BeforeValidator(lambda name: name or None)] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.mode == "None" and self.sni:
            raise ValueError("`mode: None` connects without TLS: remove `sni`, or say Simple")
        return self


class DraftPort(Model):
    number: Port
    protocol: Literal["HTTP"]
    tls: DraftTLS | None = None


class DraftFQDN(Model):
    hostname: Annotated[str, Field(min_length=1, max_length=254)]


class Destination(Model):
    type: Literal["Fqdn"]
    ports: Annotated[Many[DraftPort], Field(min_length=1, max_length=1)]
    fqdn: DraftFQDN


class XBackendDestinationSpec(Model):
    destination: Destination
    extensions: Many[ExtensionSpec] = ()


class XBackendDestination(Model):
    """An external destination as the prototype describes it."""

    unimplemented: ClassVar[frozenset[str]] = frozenset(
        {
            "caBundleRef", "clientCertificateRef", "insecureSkipVerify", "protocolOptions", "service", "status",
            "subjectAltNames",
        }
    )  # fmt: skip
    api_version: Literal["ainetworking.prototype.x-k8s.io/v0alpha0"]
    kind: Literal["XBackendDestination"]
    metadata: Metadata
    spec: XBackendDestinationSpec
