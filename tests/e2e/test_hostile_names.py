"""What a task could do to the resolver that all tasks share."""

from typing import Any

from tests.e2e.conftest import Stack
from tests.e2e.test_balancer import web_image
from tests.e2e.test_discovery import resolver
from tests.support.python_image import PYTHON
from tests.support.real import eventually

__all__ = ["web_image"]
_QUERY = """
import os, socket, sys
address, name = sys.argv[1:]
labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
query = bytes([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + labels + bytes([0, 0, 1, 0, 1])
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(5)
client.connect((address, 53))
"""
_FLOOD = f"""{_QUERY}
print("begun", flush=True)
while True:
    for packet in (os.urandom(2) + query, os.urandom(1232)):
        try: client.send(packet)
        except OSError: pass
"""
_ASK = f"""{_QUERY}
answered = 0
for turn in range(100):
    id = os.urandom(2)
    client.send(id + query)
    try:
        while client.recv(2000)[:2] != id: pass  # what comes late is of an earlier turn
        answered += 1
    except OSError: pass
print(answered, flush=True)
"""


def python(stack: Stack, image: str, code: str, *arguments: str) -> dict[str, Any]:
    command = [code, *arguments]
    return {
        **stack.container(),
        "image": image,
        "entryPoint": [str(PYTHON), "-S", "-c"],
        "command": command,
    }


def test_a_flood_of_tasks_takes_no_answer_from_another(stack: Stack, web_image: str) -> None:
    """It is dropped by the kernel before it fills the queue that all have in common."""
    address = resolver(stack.daemon)
    flood = python(stack, web_image, _FLOOD, address, "www.example.com")
    floods = [stack.run(flood, cpu="1024", memory="2048") for _ in range(2)]
    for arn in floods:
        stack.wait(arn, "RUNNING")
        eventually(lambda arn=arn: stack.lines(arn), "it floods")
    own = f"ip-{address.rsplit('.', 1)[0].replace('.', '-')}-9.ec2.internal"
    asking = stack.run(python(stack, web_image, _ASK, address, own))
    stack.wait(asking, "STOPPED", 600)
    answered = int(stack.lines(asking)[0])
    for arn in floods:
        stack.stop(arn)
    assert answered >= 98
