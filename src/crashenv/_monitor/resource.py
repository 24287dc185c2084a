"""The program's release, and where it runs, from the environment.

The variables are those of Sentry and OpenTelemetry, and the names that the documentation
of Kubernetes uses for its downward API. A crashed program cannot be asked later, and the
process that sends its crash may have another environment.
"""

import os

from crashenv._seldom.crashfile import host_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from crashenv.records import Record

# From sentry_sdk.utils.get_default_release.
_RELEASE = (
    "SENTRY_RELEASE",
    "HEROKU_BUILD_COMMIT",
    "HEROKU_SLUG_COMMIT",
    "SOURCE_VERSION",
    "CODEBUILD_RESOLVED_SOURCE_VERSION",
    "CIRCLE_SHA1",
    "GAE_DEPLOYMENT_ID",
    "K_REVISION",
)
_ENVIRONMENT = ("SENTRY_ENVIRONMENT",)
_SERVICE_NAME = ("OTEL_SERVICE_NAME",)
_IN_KUBERNETES = "KUBERNETES_SERVICE_HOST"  # set in each pod; elsewhere the names mean other things
# OpenTelemetry's names for them.
_KUBERNETES = {
    "k8s.pod.name": ("POD_NAME", "MY_POD_NAME", "K8S_POD_NAME", "KUBERNETES_POD_NAME"),
    "k8s.pod.uid": ("POD_UID", "MY_POD_UID", "K8S_POD_UID"),
    "k8s.namespace.name": (
        *("POD_NAMESPACE", "MY_POD_NAMESPACE", "K8S_NAMESPACE"),
        "KUBERNETES_NAMESPACE",
    ),
    "k8s.node.name": ("NODE_NAME", "MY_NODE_NAME", "K8S_NODE_NAME", "KUBERNETES_NODE_NAME"),
    "k8s.container.name": ("CONTAINER_NAME", "K8S_CONTAINER_NAME"),
}
_ATTRIBUTES = "OTEL_RESOURCE_ATTRIBUTES"
_LONGEST = 1000  # characters of a value
_MOST = 100


def add(record: "Record", environment: "Mapping[str, str]" = os.environ) -> None:
    """Add ``release``, ``environment`` and ``resource`` to the record, as far as they are known."""
    release, name = _first(_RELEASE, environment), _first(_ENVIRONMENT, environment)
    if release:
        record["release"] = release
    if name:
        record["environment"] = name
    resource = {"host.name": host_name()}
    if environment.get(_IN_KUBERNETES):
        for key, variables in _KUBERNETES.items():
            value = _first(variables, environment)
            if value:
                resource[key] = value
    record["resource"] = {**resource, **_attributes(environment), **_service(environment)}


def _first(variables: "tuple[str, ...]", environment: "Mapping[str, str]") -> str:
    for variable in variables:
        if environment.get(variable, "").strip():
            return environment[variable].strip()[:_LONGEST]
    return ""


def _service(environment: "Mapping[str, str]") -> "dict[str, str]":
    """Return the name, which wins over that in the attributes (OpenTelemetry's resource SDK)."""
    name = _first(_SERVICE_NAME, environment)
    return {"service.name": name} if name else {}


def _attributes(environment: "Mapping[str, str]") -> "dict[str, str]":
    """Parse ``key=value,key=value``, percent-encoded (OpenTelemetry's resource SDK)."""
    found = {}
    for item in environment.get(_ATTRIBUTES, "").split(",")[:_MOST]:
        key, equals, value = item.partition("=")
        if equals and key.strip():
            found[key.strip()] = _decoded(value.strip())[:_LONGEST]
    return found


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)
