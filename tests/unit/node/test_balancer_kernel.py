"""What the kernel leads past Envoy is counted: in a network namespace of its own, between two others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

_SCRIPT = """
import asyncio, json, socket, subprocess, sys, threading
from neargate.model.balancing import EMPTY, View
from neargate.node.balancer.kernel import Kernel
from tests.support.envoy_rig import balancer, forward, group, listener, target

BALANCER, GATEWAY, TARGET, CLIENT = "10.9.0.4", "10.9.0.1", "10.9.1.1", "10.9.1.2"
ECHO = '''
import socket, threading
def echo(one):
    while said := one.recv(100): one.send(said)
server, datagrams = socket.create_server(("", 80)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", 80))
print("listens", flush=True)
def answer():
    while True: datagrams.sendto(*datagrams.recvfrom(2000))
threading.Thread(target=answer, daemon=True).start()
while True: threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
'''
ASK = '''
import socket, sys
held = [socket.create_connection((sys.argv[1], 80), 20) for _ in range(3)]
for one in held: one.send(b"hello"); assert one.recv(10) == b"hello"
print("asked", flush=True)
sys.stdin.read()
'''

def ip(*arguments): subprocess.run(["ip", *arguments], check=True)

def inside(link, address, code, *arguments):
    code = "import sys; sys.stdin.readline()\\n" + code
    process = subprocess.Popen(
        ["unshare", "-n", sys.executable, "-I", "-c", code, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )
    while open(f"/proc/{process.pid}/cmdline").read().startswith("unshare"): pass
    ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(process.pid))
    ip("link", "set", link, "up")
    ip("route", "add", f"{address}/32", "dev", link, "src", GATEWAY)
    for command in (
        f"ip address add {address}/32 dev eth0", "ip link set eth0 up", "ip link set lo up",
        f"ip route add {GATEWAY}/32 dev eth0", f"ip route add default via {GATEWAY}",
    ):
        subprocess.run(["nsenter", "-t", str(process.pid), "-n", *command.split()], check=True)
    process.stdin.write(b"go\\n")
    process.stdin.flush()
    assert process.stdout.readline()
    return process

async def main():
    ip("link", "set", "lo", "up")
    ip("address", "add", f"{GATEWAY}/32", "dev", "lo")
    ip("address", "add", f"{BALANCER}/32", "dev", "lo")
    open("/proc/sys/net/ipv4/ip_forward", "w").write("1")
    server = inside("ng1", TARGET, ECHO)
    own = group("own", protocol="TCP_UDP", attributes={"preserve_client_ip.enabled": "true"})
    front = listener(forward((own, 1)), protocol="TCP_UDP")
    one = target(own, 80, address=TARGET)
    balancers = {front.balancer_arn: balancer(BALANCER, kind="network")}
    view = View(balancers, {front.arn: front}, {}, {own.arn: own}, {"one": one}, {})
    kernel = Kernel("abc", "10.9.0.0/16")
    told = []
    async def tell(): told.append(await kernel.counts())
    await kernel.take(view)
    await tell()
    client = inside("ng2", CLIENT, ASK, BALANCER)
    await tell()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.connect((BALANCER, 80))
        for _ in range(10):
            here.send(bytes(1000))
            assert len(here.recv(2000)) == 1000
    await tell()
    client.stdin.close()
    client.wait()
    await Kernel("abc", "10.9.0.0/16").take(view)  # of the next daemon
    await tell()
    await kernel.take(EMPTY)
    await tell()
    server.kill()
    print(json.dumps(told))

asyncio.run(main())
"""


def test_flows_and_bytes_of_other_machines_and_of_this_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    done = subprocess.run(
        ["unshare", "-n", sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
        timeout=60,
    )
    assert not done.returncode, done.stderr
    before, forwarded, own, anew, gone = [
        {name.removeprefix("kernel.10.9.0.4."): value for name, value in told.items()}
        for told in json.loads(done.stdout)
    ]
    assert before == {"flows": 0, "moved": 0, "active": 0}
    assert (forwarded["flows"], forwarded["active"]) == (3, 3)
    assert (
        3 * 2 * 45 < forwarded["moved"] < 3 * 2 * 45 + 3 * 8 * 60
    )  # both ways; handshakes and acknowledgements
    assert (own["flows"], own["active"]) == (4, 4)
    assert own["moved"] - forwarded["moved"] == 10 * 2 * (1000 + 28)
    assert (anew["flows"], anew["active"]) == (4, 1)
    assert anew["moved"] > own["moved"]
    assert gone == {}
