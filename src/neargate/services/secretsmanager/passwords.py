"""GetRandomPassword. Called by gateway/dispatch."""

import string
from collections.abc import Sequence

from neargate.services.call import Call, Params, Result
from neargate.services.secretsmanager import names

_LENGTH = 32


async def get_random_password(call: Call, params: Params) -> Result:
    length, excluded = params.get("PasswordLength") or _LENGTH, params.get("ExcludeCharacters") or ""
    kinds = [
        kept
        for member, characters in (
            ("ExcludeLowercase", string.ascii_lowercase),
            ("ExcludeUppercase", string.ascii_uppercase),
            ("ExcludeNumbers", string.digits),
            ("ExcludePunctuation", string.punctuation),
        )
        if not params.get(member) and (kept := "".join(c for c in characters if c not in excluded))
    ]
    if params.get("IncludeSpace") and " " not in excluded:
        kinds.append(" ")
    if not kinds:
        raise names.invalid("No characters are left to make a password of.")
    required = kinds if params.get("RequireEachIncludedType", True) else []
    if len(required) > length:
        raise names.invalid(
            f"PasswordLength is {length}: with RequireEachIncludedType it must be at least {len(required)}."
        )
    draw = _Draw(call, 2 * length + len(required))
    made = [draw.one_of(kind) for kind in required]
    pool = "".join(kinds)
    made += [draw.one_of(pool) for _ in range(length - len(made))]
    for place in range(length - 1, 0, -1):
        other = draw.below(place + 1)
        made[place], made[other] = made[other], made[place]
    return {"RandomPassword": "".join(made)}


class _Draw:
    """Numbers out of one great random number: 16 bits each, and 128 more, so that none is likelier."""

    def __init__(self, call: Call, count: int) -> None:
        self._rest = int(call.ids.hex(4 * count + 32), 16)

    def below(self, bound: int) -> int:
        self._rest, drawn = divmod(self._rest, bound)
        return drawn

    def one_of(self, choices: Sequence[str]) -> str:
        return choices[self.below(len(choices))]
