"""Random identifiers in AWS's shapes, injected so that tests can drive them.

Called by services and control; nothing else draws randomness for names.
"""

import random
import secrets
import uuid
from typing import Protocol


class Ids(Protocol):
    def hex(self, digits: int) -> str:
        """`digits` lower-case hexadecimal digits."""
        ...

    def digits(self, count: int) -> str:
        """`count` decimal digits, the first not zero."""
        ...

    def uuid(self) -> str: ...

    def token(self, size: int) -> str:
        """A secret: URL-safe text from `size` bytes of the system's entropy."""
        ...


class SystemIds:
    def hex(self, digits: int) -> str:
        return secrets.token_hex((digits + 1) // 2)[:digits]

    def digits(self, count: int) -> str:
        return str(secrets.randbelow(9 * 10 ** (count - 1)) + 10 ** (count - 1))

    def uuid(self) -> str:
        return str(uuid.uuid4())

    def token(self, size: int) -> str:
        return secrets.token_urlsafe(size)


class SeededIds:
    """Repeatable ids for tests."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def hex(self, digits: int) -> str:
        return f"{self._random.getrandbits(4 * digits):0{digits}x}"

    def digits(self, count: int) -> str:
        return str(self._random.randrange(10 ** (count - 1), 10**count))

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def token(self, size: int) -> str:
        return self.hex(2 * size)
