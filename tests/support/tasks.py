"""Task records as the rules meet them: running, with an address, of account 000000000000. For tests/unit."""

from typing import Any

from neargate.model.task import Task


def running_task(number: int = 1, **change: Any) -> Task:
    given: dict[str, Any] = {
        "account": "000000000000",
        "region": "us-east-1",
        "arn": f"task/{number}",
        "id": str(number),
        "cluster_arn": "c",
        "definition_arn": "d",
        "family": "web",
        "revision": 1,
        "last_status": "RUNNING",
        "desired_status": "RUNNING",
        "cpu": "256",
        "memory": "512",
        "containers": (),
        "private_ip": f"10.0.0.{number}",
        **change,
    }
    return Task(**given)
