"""Parameters held against the model: required members, enums, lengths, patterns and ranges.

Called by protocols.py after a request is read; all that is wrong is told in one error, as AWS tells it. How a
service spells that error is in the table DIALECTS.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from neargate.kit.errors import ApiError
from neargate.wire.models import Operation, Service
from neargate.wire.patterns import matcher
from neargate.wire.shapes import Shape
from neargate.wire.values import INTEGERS, STRINGS

_NULL = "Member must not be null"
_MOST_TOLD = 20
_MOST_SHOWN = 256


@dataclass(frozen=True, slots=True)
class Problem:
    path: str
    value: str | None
    """As the error repeats it; None for a sensitive one."""
    constraint: str
    """In AWS's words: `Member must ...`."""

    @property
    def missing(self) -> bool:
        return self.constraint == _NULL


Problems = list[Problem]
Validator = Callable[[Any, str, Problems], None]
Test = tuple[Callable[[Any], bool], str]
"""Whether a value will do, and the constraint in AWS's words."""


def _coral(problems: Problems) -> str:
    count = len(problems)
    told = "; ".join(
        f"{_subject(problem)} failed to satisfy constraint: {problem.constraint}" for problem in problems
    )
    return f"{count} validation error{'s' if count > 1 else ''} detected: {told}"


def _subject(problem: Problem) -> str:
    if problem.missing:
        return f"Value null at '{problem.path}'"
    return (
        f"Value at '{problem.path}'"
        if problem.value is None
        else f"Value '{problem.value}' at '{problem.path}'"
    )


def _registry(problems: Problems) -> str:
    """ECR's words."""
    first = problems[0]
    constraint = first.constraint[:1].lower() + first.constraint[1:]
    constraint = constraint.removeprefix("member ")
    return f"Invalid parameter at '{first.path}' failed to satisfy constraint: '{constraint}'"


def _ec2(problems: Problems) -> str:
    first = problems[0]
    name = first.path[:1].upper() + first.path[1:]
    if first.missing:
        return f"The request must contain the parameter {name}"
    return f"Value ({first.value or ''}) for parameter {first.path} is invalid. {first.constraint}"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a service tells what is wrong with a request."""

    code: str
    text: Callable[[Problems], str] = _coral
    missing_code: str = ""
    """The code where a required parameter is missing, if it has one of its own."""


_JSON = Dialect("ValidationException")
_QUERY = Dialect("ValidationError")
DIALECTS = {
    "batch": Dialect("ClientException"),
    "ec2": Dialect("InvalidParameterValue", _ec2, "MissingParameter"),
    "ecr": Dialect("InvalidParameterException", _registry),
    "ecs": Dialect("InvalidParameterException"),
    "eks": Dialect("InvalidParameterException"),
    "logs": Dialect("InvalidParameterException"),
    "s3": Dialect("InvalidArgument"),
    "secretsmanager": Dialect("InvalidParameterException"),
    "servicediscovery": Dialect("InvalidInput"),
    "sqs": Dialect("InvalidParameterValue", _ec2, "MissingParameter"),
}


def dialect_of(service: Service) -> Dialect:
    found = DIALECTS.get(service.name)
    return found or (_QUERY if service.protocols[0] in ("query", "rest-xml") else _JSON)


def prepare(operation: Operation) -> Validator:
    validator = operation.validator
    if validator is None:
        validator = operation.validator = _validator_of(operation)
    return validator


def check(operation: Operation, params: Mapping[str, Any]) -> None:
    """Raises ApiError where the parameters break the model's rules."""
    problems: Problems = []
    prepare(operation)(params, "", problems)
    if problems:
        dialect = dialect_of(operation.service)
        code = dialect.missing_code if dialect.missing_code and problems[0].missing else dialect.code
        raise ApiError(code, dialect.text(problems[:_MOST_TOLD]), status=400)


def _validator_of(operation: Operation) -> Validator:
    if operation.input is None:
        return lambda value, path, problems: None
    made = Validators(operation.service).of(operation.input.shape)
    return made or (lambda value, path, problems: None)


class Validators:
    """Makes validators of one service's shapes. None where a shape sets no bounds."""

    def __init__(self, service: Service) -> None:
        self._shapes = service.shapes
        self._made: dict[str, Validator | None] = {}

    def of(self, name: str) -> Validator | None:
        if name in self._made:
            return self._made[name]
        shape = self._shapes[name]
        if shape.document:
            made: Validator | None = None
        elif shape.type == "structure":
            return self._structure(name, shape)
        elif shape.type == "list":
            made = self._list(shape)
        elif shape.type == "map":
            made = self._map(shape)
        else:
            tests = tests_of(shape)
            made = _tester(tests, shape.sensitive) if tests else None
        self._made[name] = made
        return made

    def _structure(self, name: str, shape: Shape) -> Validator | None:
        members: dict[str, tuple[str, Validator]] = {}
        required = tuple((member, _spelled(member)) for member in shape.required)

        def validate(value: Any, path: str, problems: Problems) -> None:
            for member, spelled in required:
                if value.get(member) is None:
                    problems.append(Problem(_joined(path, spelled), None, _NULL))
            for member, item in value.items():
                found = members.get(member)
                if found is not None:
                    found[1](item, _joined(path, found[0]), problems)

        self._made[name] = validate  # A shape may hold itself: first the validator, then its members.
        for member, ref in shape.members.items():
            made = self.of(ref.shape)
            if made is not None:
                members[member] = (_spelled(member), made)
        if not members and not required:
            self._made[name] = None
        return self._made[name]

    def _list(self, shape: Shape) -> Validator:
        assert shape.member is not None
        item_shape = self._shapes[shape.member.shape]
        # Constraints of plain items are told of the list as a whole, others of the item.
        plain = () if item_shape.type in ("structure", "list", "map") else tests_of(item_shape)
        item = None if plain else self.of(shape.member.shape)
        tests = tests_of(shape)

        def validate(value: Any, path: str, problems: Problems) -> None:
            _run(tests, value, path, problems, shape.sensitive)
            if plain and not all(test(entry) for entry in value if entry is not None for test, _ in plain):
                _tell(
                    value,
                    path,
                    f"Member must satisfy constraint: {_listed(plain)}",
                    problems,
                    item_shape.sensitive,
                )
            for place, entry in enumerate(value, 1):
                if entry is None:
                    problems.append(Problem(f"{path}.{place}.member", None, _NULL))
                elif item is not None:
                    item(entry, f"{path}.{place}.member", problems)

        return validate

    def _map(self, shape: Shape) -> Validator:
        assert shape.key is not None and shape.value is not None
        value_shape = self._shapes[shape.value.shape]
        plain = () if value_shape.type in ("structure", "list", "map") else tests_of(value_shape)
        item = None if plain else self.of(shape.value.shape)
        keys, tests = tests_of(self._shapes[shape.key.shape]), tests_of(shape)

        def validate(value: Any, path: str, problems: Problems) -> None:
            _run(tests, value, path, problems, shape.sensitive)
            if keys and not all(test(key) for key in value for test, _ in keys):
                _tell(
                    value,
                    path,
                    f"Map keys must satisfy constraint: {_listed(keys)}",
                    problems,
                    shape.sensitive,
                )
            entries = [entry for entry in value.values() if entry is not None]
            if plain and not all(test(entry) for entry in entries for test, _ in plain):
                text = f"Map value must satisfy constraint: {_listed(plain)}"
                _tell(value, path, text, problems, value_shape.sensitive)
            for key, entry in value.items():
                if entry is None:
                    problems.append(Problem(f"{path}.{_cut(key)}.member", None, _NULL))
                elif item is not None:
                    item(entry, f"{path}.{_cut(key)}.member", problems)

        return validate


def _spelled(member: str) -> str:
    return member[:1].lower() + member[1:]


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _listed(tests: tuple[Test, ...]) -> str:
    return f"[{', '.join(text for _, text in tests)}]"


def _tester(tests: tuple[Test, ...], sensitive: bool) -> Validator:
    return lambda value, path, problems: _run(tests, value, path, problems, sensitive)


def _run(tests: tuple[Test, ...], value: Any, path: str, problems: Problems, sensitive: bool) -> None:
    for test, constraint in tests:
        if not test(value):
            _tell(value, path, constraint, problems, sensitive)


def _tell(value: Any, path: str, constraint: str, problems: Problems, sensitive: bool) -> None:
    problems.append(Problem(path, None if sensitive else _cut(_java(value)), constraint))


def _java(value: Any) -> str:
    """A value as Java prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(_java(entry) for entry in value[:_MOST_TOLD])}]"
    if isinstance(value, dict):
        entries = list(value.items())[:_MOST_TOLD]
        return f"{{{', '.join(f'{key}={_java(entry)}' for key, entry in entries)}}}"
    if isinstance(value, bytes):
        return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
    return "null" if value is None else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."


def tests_of(shape: Shape) -> tuple[Test, ...]:
    """A shape's own constraints."""
    numeric = shape.type in INTEGERS or shape.type in ("float", "double")
    tests: list[Test] = []
    high, low = shape.max, shape.min
    if numeric:
        if high is not None:
            tests.append(
                (lambda value: value <= high, f"Member must have value less than or equal to {high:.15g}")
            )
        if low is not None:
            tests.append(
                (lambda value: value >= low, f"Member must have value greater than or equal to {low:.15g}")
            )
    elif shape.type in ("string", "blob", "list", "map"):
        if high is not None:
            tests.append(
                (
                    lambda value: len(value) <= high,
                    f"Member must have length less than or equal to {high:.15g}",
                )
            )
        if low is not None:
            tests.append(
                (
                    lambda value: len(value) >= low,
                    f"Member must have length greater than or equal to {low:.15g}",
                )
            )
    if shape.type in STRINGS:
        tests += _tests_of_text(shape)
    return tuple(tests)


def _tests_of_text(shape: Shape) -> list[Test]:
    tests: list[Test] = []
    match = matcher(shape.pattern) if shape.pattern else None
    if match is not None:
        text = f"Member must satisfy regular expression pattern: {shape.pattern}"
        tests.append((lambda value: match(value) is not None, text))
    if shape.enum:
        allowed = frozenset(shape.enum)
        text = f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
        tests.append((lambda value: value in allowed, text))
    return tests
