"""The base of every stored record: frozen, JSON-shaped, owned by an account in a region.

Subclassed by the other modules of model/; stored by state/ through its Kind (state/catalog.py).
"""

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    account: str
    region: str


class Scope(msgspec.Struct, frozen=True):
    """Whose records: every list and every new record has one."""

    account: str
    region: str

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"
