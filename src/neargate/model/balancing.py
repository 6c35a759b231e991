"""All that a data plane needs to know of load balancing at one moment: records, by their ids.

Made by services/cell from the store; read by model/envoy*.py, which turns it into Envoy's resources, and by
node/balancer. A record that did not change stays the same object from one view to the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from neargate.model.balancer import Listener, ListenerRule, LoadBalancer, Target, TargetGroup
from neargate.model.balancer_rules_attributes import SCALE_TO_ZERO
from neargate.model.service_connect import ConnectEndpoint

ANSWERING = ("healthy", "unhealthy")
"""States of targets that may get requests; the unhealthy ones when there are no others."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    certificate: str
    """PEM, the chain behind it."""
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class View:
    balancers: Mapping[str, LoadBalancer]
    listeners: Mapping[str, Listener]
    rules: Mapping[str, ListenerRule]
    groups: Mapping[str, TargetGroup]
    targets: Mapping[str, Target]
    """By model.balancer.target_id."""
    certificates: Mapping[str, KeyPair]
    connect: Mapping[str, ConnectEndpoint] = field(default_factory=dict)
    """Endpoints of Service Connect."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to carry."""
        return not self.balancers and not self.connect

    def targets_of(self, group: str) -> list[Target]:
        return [target for target in self.targets.values() if target.group_arn == group]


def asleep(group: TargetGroup, targets: Sequence[Target]) -> bool:
    """Requests wait until its service is woken: it scales to zero, and has nobody who could answer."""
    if not enabled(group.attributes, SCALE_TO_ZERO):
        return False
    return not any(target.state in ANSWERING for target in targets)


EMPTY = View({}, {}, {}, {}, {}, {})


def number(attributes: Mapping[str, str], name: str, default: float) -> float:
    return float(attributes.get(name, default))


def enabled(attributes: Mapping[str, str], name: str, default: bool = False) -> bool:
    return attributes.get(name, str(default)).lower() == "true"


def path_of(arn: str) -> str:
    """What an ARN says after its resource's kind: `app/<name>/<id>`, `<group>/<id>`."""
    return arn.rpartition(":")[2].partition("/")[2]
