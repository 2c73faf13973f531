"""What can be wrong with the server's cluster, and with those of destinations."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from extproc.doctor.finding import Code
from extproc.envoy.clusters import HTTP_OPTIONS
from tests.doctor.case import Case, having, without
from tests.doctor.parts import Parts

FAR = {"socket_address": {"address": "192.0.2.1", "port_value": 9443}}
"""Nowhere (RFC 5737), and not in this pod."""

CHECK = {"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1, "grpc_health_check": {}}


def aggregated(g: Parts) -> None:
    """An aggregate cluster in front of one whose certificate nobody verifies."""
    del g.tls["common_tls_context"]["validation_context"]
    kind = "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig"
    config = {"@type": kind, "clusters": [g.secure["name"]]}
    aggregate = {"name": f"all@{g.name}", "connect_timeout": "1s", "lb_policy": "CLUSTER_PROVIDED"}
    g.clusters.append({**aggregate, "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": config}})
    g.table["virtual_hosts"][1]["routes"][0]["route"]["cluster"] = aggregate["name"]


def wrapped(g: Parts) -> None:
    """TLS inside the PROXY protocol, as load balancers want it."""
    g.certificate.pop("match_typed_subject_alt_names")
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
    inner = g.secure.pop("transport_socket")
    config = {"@type": kind, "config": {"version": "V2"}, "transport_socket": inner}
    g.secure["transport_socket"] = {"name": "envoy.transport_sockets.upstream_proxy_protocol", "typed_config": config}


def in_the_clear(g: Parts) -> None:
    """Without TLS there is no ALPN either, by which HTTP/2 or 1.1 is chosen."""
    del g.secure["transport_socket"]
    options = g.secure["typed_extension_protocol_options"][HTTP_OPTIONS]
    del options["auto_config"]
    options["explicit_http_config"] = {"http_protocol_options": {}}


def ended(g: Parts) -> None:
    """A client certificate of yesterday."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "yesterday")]),
    )
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=2)).not_valid_after(now - timedelta(days=1))
    cert = made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    pair = {"certificate_chain": {"inline_string": cert}, "private_key": {"inline_string": private}}
    g.tls_common["tls_certificates"] = [pair]


CLUSTERS: tuple[Case, ...] = (
    Case(Code.CLUSTER_MISSING, "there is no such cluster", lambda g: g.clusters.remove(g.cluster)),
    Case(Code.CLUSTER_BREAKER, "max_requests 1024: more exchanges", without("breaker", "max_requests")),
    Case(Code.CLUSTER_BREAKER, "max_pending_requests 10: more exchanges", having("breaker", max_pending_requests=10)),
    Case(Code.CLUSTER_EMPTY, "knows no endpoint", without("cluster", "load_assignment")),
    Case(
        Code.CLUSTER_SICK,
        "extproc.sock is not healthy for Envoy .failed_active_health_check",
        having("cluster", health_checks=[CHECK]),
    ),
    Case(
        Code.CLUSTER_HTTP2,
        "it is not spoken to in HTTP/2",
        having("server_options", explicit_http_config={"http_protocol_options": {}}),
    ),
    Case(Code.CLUSTER_STREAMS, "max_concurrent_streams is 10", having("http2", max_concurrent_streams=10)),
    Case(
        Code.CLUSTER_KEEPALIVE,
        "pings every 1 s",
        having("http2", connection_keepalive={"interval": "1s", "timeout": "1s"}),
    ),
    Case(Code.CLUSTER_PLAINTEXT, "192.0.2.1:9443 is not in this pod", lambda g: g.server_at(FAR)),
    Case(
        Code.UPSTREAM_MISSING,
        "cluster egress/stub@[^:]+: it has no upstream filter",
        without("options", "http_filters"),
    ),
    Case(
        Code.UPSTREAM_METADATA,
        "what the upstream pass needs to know is not accepted",
        lambda g: g.received.remove("extproc.internal"),
    ),
    Case(
        Code.UPSTREAM_METADATA,
        "the token of the downstream pass is not forwarded",
        without("try_metadata", "forwarding_namespaces"),
    ),
    Case(
        Code.UPSTREAM_CLAIM,
        "and of which Backend; set x-extproc-pass",
        lambda g: g.each_try["grpc_service"]["initial_metadata"].pop(),
    ),
    Case(
        Code.UPSTREAM_BODY,
        "response_body_mode is BUFFERED, which this server refuses here",
        having("try_modes", response_body_mode="BUFFERED"),
    ),
    Case(
        Code.FILTER_FAILURE_MODE,
        "cluster egress/stub@[^:]+, .*failure_mode_allow is true",
        having("each_try", failure_mode_allow=True),
    ),
    Case(Code.TLS_MISSING, "it leads to port 443 without TLS", in_the_clear),
    Case(
        Code.TLS_UNVERIFIED,
        "cluster egress/secure@[^:]+: its TLS trusts every certificate:",
        without("tls_common", "validation_context"),
    ),
    Case(
        Code.TLS_UNVERIFIED,
        "egress/secure@[^:]+: its TLS trusts every certificate: whoever",
        having("certificate", trust_chain_verification="ACCEPT_UNTRUSTED"),
    ),
    Case(Code.TLS_UNVERIFIED, "trusts every certificate: whoever answers", aggregated),
    Case(
        Code.TLS_NAME,
        "trusts every certificate of its authority",
        without("certificate", "match_typed_subject_alt_names"),
    ),
    Case(Code.TLS_NAME, "trusts every certificate of its authority, whatever", wrapped),
    Case(
        Code.TLS_ENDED,
        "cluster egress/secure@[^:]+: the certificate unnamed_cert_\\w+ has ended on .* UTC: handshakes",
        ended,
    ),
)
