"""What a task costs: Fargate's price table (us-east-1, per hour) and the arithmetic. Pure.

Called by control/cost. A settings file replaces single prices: `settings.pricing_file`, e.g.
    {"FARGATE": {"X86_64": {"vcpu_hour": "0.05"}}, "storage_gib_hour": "0.0001"}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from neargate.model.task import Usage

FREE_STORAGE_GIB: Final = 20
"""Ephemeral storage that is in the price of the task."""
_HOUR: Final = Decimal(3600)
_PROVIDERS: Final = ("FARGATE", "FARGATE_SPOT")
_ARCHITECTURES: Final = {"x86_64": "X86_64", "amd64": "X86_64", "arm64": "ARM64", "aarch64": "ARM64"}


class PricingError(ValueError):
    """A price table that cannot be used; the message names the entry and says what would be right."""


@dataclass(frozen=True, slots=True)
class Rate:
    """US dollars per hour."""

    vcpu_hour: Decimal
    gib_hour: Decimal


@dataclass(frozen=True, slots=True)
class Prices:
    """Rates by (capacity provider, architecture), and what a GiB of storage beyond the free ones costs.

    AWS does not list Spot prices, they vary: these are 30 % of the on-demand ones.
    """

    rates: Mapping[tuple[str, str], Rate] = field(
        default_factory=lambda: {
            ("FARGATE", "X86_64"): Rate(Decimal("0.04048"), Decimal("0.004445")),
            ("FARGATE", "ARM64"): Rate(Decimal("0.03238"), Decimal("0.00356")),
            ("FARGATE_SPOT", "X86_64"): Rate(Decimal("0.012144"), Decimal("0.0013335")),
            ("FARGATE_SPOT", "ARM64"): Rate(Decimal("0.009714"), Decimal("0.001068")),
        }
    )
    storage_gib_hour: Decimal = Decimal("0.000111")


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars."""

    vcpu: Decimal = Decimal(0)
    memory: Decimal = Decimal(0)
    storage: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        return self.vcpu + self.memory + self.storage

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.vcpu + other.vcpu, self.memory + other.memory, self.storage + other.storage)


@dataclass(frozen=True, slots=True)
class Amount:
    """What was consumed: vCPU-seconds, GiB-seconds of memory, GiB-seconds of storage beyond the free."""

    vcpu_seconds: Decimal = Decimal(0)
    gib_seconds: Decimal = Decimal(0)
    storage_gib_seconds: Decimal = Decimal(0)

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            self.vcpu_seconds + other.vcpu_seconds,
            self.gib_seconds + other.gib_seconds,
            self.storage_gib_seconds + other.storage_gib_seconds,
        )


def amount(usage: Usage) -> Amount:
    seconds = Decimal(usage.seconds)
    return Amount(
        seconds * usage.cpu_units / 1024,
        seconds * usage.memory_mib / 1024,
        seconds * max(0, usage.ephemeral_gib - FREE_STORAGE_GIB),
    )


def cost(usage: Usage, prices: Prices) -> Cost:
    """What a task's usage costs. Any provider but FARGATE_SPOT is priced as FARGATE."""
    provider = "FARGATE_SPOT" if usage.capacity_provider == "FARGATE_SPOT" else "FARGATE"
    rate = prices.rates[provider, _ARCHITECTURES.get(usage.architecture.lower(), "X86_64")]
    used = amount(usage)
    return Cost(
        used.vcpu_seconds * rate.vcpu_hour / _HOUR,
        used.gib_seconds * rate.gib_hour / _HOUR,
        used.storage_gib_seconds * prices.storage_gib_hour / _HOUR,
    )


def prices_from(document: Any, base: Prices | None = None) -> Prices:
    """The price table with the document's entries in place of its own. Raise PricingError."""
    prices = base or Prices()
    if not isinstance(document, dict):
        raise PricingError("the price table must be a JSON object")
    rates = dict(prices.rates)
    storage = prices.storage_gib_hour
    for key, value in document.items():
        if key == "storage_gib_hour":
            storage = _price(key, value)
        elif key in _PROVIDERS:
            _override(rates, key, value)
        else:
            known = ", ".join((*_PROVIDERS, "storage_gib_hour"))
            raise PricingError(f"unknown entry {key!r}: it must be one of {known}")
    return Prices(rates, storage)


def _override(rates: dict[tuple[str, str], Rate], provider: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise PricingError(f"{provider} must be an object with X86_64 or ARM64")
    for architecture, entry in value.items():
        where = f"{provider}.{architecture}"
        if (provider, architecture) not in rates:
            raise PricingError(f"unknown entry {where!r}: it must be {provider}.X86_64 or {provider}.ARM64")
        if not isinstance(entry, dict):
            raise PricingError(f"{where} must be an object with vcpu_hour or gib_hour")
        for name, price in entry.items():
            if name not in ("vcpu_hour", "gib_hour"):
                raise PricingError(f"unknown entry '{where}.{name}': it must be vcpu_hour or gib_hour")
            changed = {name: _price(f"{where}.{name}", price)}
            rates[provider, architecture] = replace(rates[provider, architecture], **changed)


def _price(where: str, value: Any) -> Decimal:
    problem = f"{where} is {value!r}: it must be a number of US dollars per hour, 0 or more"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise PricingError(problem)
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        raise PricingError(problem) from None
    if not price.is_finite() or price < 0:
        raise PricingError(problem)
    return price
