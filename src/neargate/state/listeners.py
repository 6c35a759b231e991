"""What routes requests, by ARN: a rule, or the listener itself, whose actions are its default rule's.

Called by services/elbv2, by services/ecs (a service's listener rules) and control/services (traffic).
"""

from neargate.model.balancer import Listener, ListenerRule
from neargate.model.balancer_rules import default_rule_arn, listener_arn_of
from neargate.state.catalog_balancers import LISTENER, LISTENER_RULE
from neargate.state.store import Tx


def routing(tx: Tx, arn: str) -> ListenerRule | Listener | None:
    """By the ARN of a rule, of a default rule, or of a listener."""
    return tx.get(LISTENER_RULE, arn) or with_default(tx, arn) or tx.get(LISTENER, arn)


def with_default(tx: Tx, rule_arn: str) -> Listener | None:
    """The listener whose default rule this is, if it is one."""
    listener = tx.get(LISTENER, listener_arn_of(rule_arn))
    return listener if listener is not None and default_rule_arn(listener.arn) == rule_arn else None
