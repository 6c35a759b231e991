"""The resolver of tasks: how soon a change is answered, and how long an answer takes.

.venv/bin/python -m bench.resolver [--rounds 100]
"""

import argparse
import tempfile
import time
from pathlib import Path

import dns.message
import dns.query

from bench.measure import Figure, median, percentile, show
from tests.support.real import RealDaemon

_QUERIES = 500


def run(rounds: int = 100) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as work, RealDaemon(Path(work) / "data") as daemon:
        client = daemon.client("servicediscovery")
        vpc = daemon.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        made = client.create_private_dns_namespace(Name="bench.test", Vpc=vpc)
        operation = client.get_operation(OperationId=made["OperationId"])["Operation"]
        service = client.create_service(
            Name="web",
            NamespaceId=operation["Targets"]["NAMESPACE"],
            DnsConfig={"DnsRecords": [{"Type": "A", "TTL": 1}]},
        )["Service"]["Id"]
        address = daemon.environment["NEARGATE_VPC_CIDR"].replace(".0.0/16", ".0.2")
        port = int((daemon.data_dir / "resolver" / "port").read_text().split()[1])
        seen = [_change(client, service, number, address, port) for number in range(rounds)]
        took = [_asked(address, port)[1] for _ in range(_QUERIES)]
    return [
        Figure(
            "RegisterInstance answered, to its address answered by DNS", 1000 * median(seen), "ms", "<= 100"
        ),
        Figure("the same, p99", 1000 * percentile(seen, 0.99), "ms", "<= 100"),
        Figure("an answer of one of our names", 1000 * median(took), "ms"),
    ]


def _change(client: object, service: str, number: int, address: str, port: int) -> float:
    """Seconds from the call's answer to the first DNS answer that knows it."""
    wanted = f"10.9.{number // 250}.{1 + number % 250}"
    attributes = {"AWS_INSTANCE_IPV4": wanted}
    client.register_instance(ServiceId=service, InstanceId="one", Attributes=attributes)  # type: ignore[attr-defined]
    began = time.perf_counter()
    while wanted not in _asked(address, port)[0]:
        time.sleep(0.001)
    return time.perf_counter() - began


def _asked(address: str, port: int) -> tuple[list[str], float]:
    began = time.perf_counter()
    answer = dns.query.udp(dns.message.make_query("web.bench.test", "A"), address, port=port, timeout=5)
    values = [value.to_text() for found in answer.answer for value in found]
    return values, time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    show("resolver", run(parser.parse_args().rounds))
