"""What the data plane asks of the control plane, and tells it.

Implemented by services/cell/balancers.py for the node inside the daemon. Called by control.py, checker.py and
counters.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from neargate.kit.errors import CellError as CellError
from neargate.model.balancer import Target
from neargate.model.balancing import View
from neargate.model.metric import Point
from neargate.model.target_health import Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """A target as it was seen, and the state that it is to have."""

    target: Target
    verdict: Verdict


class BalancerCell(Protocol):
    """Every call may raise CellError."""

    async def balancing(self, after: int) -> tuple[int, View]:
        """Long poll: (cursor, view) once anything changed after the cursor; 0: at once."""
        ...

    async def report_targets(self, judged: Sequence[Judged]) -> None:
        """Move targets that are still as they were seen, in one write."""
        ...

    async def forget_targets(self, drained: Sequence[Target]) -> None:
        """Remove draining targets that have nothing left to answer."""
        ...

    async def report_balancers(self, reasons: Mapping[str, str]) -> None:
        """By ARN, why balancers do not listen where they should; empty: they do."""
        ...

    async def wake(self, group_arn: str) -> None:
        """A request waits for a target of this group, which scales to zero."""
        ...

    async def put_access_log(
        self, balancer_arn: str, key: str, data: bytes, attributes: str = "access_logs"
    ) -> None:
        """Keep an object in the bucket that these of the balancer's attributes name."""
        ...

    async def put_traffic(self, points: Sequence[Point], asked: Sequence[str]) -> None:
        """Keep what the load balancers did. asked -- groups that scale to zero and had requests lately."""
        ...
