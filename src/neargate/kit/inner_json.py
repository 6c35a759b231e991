"""JSON that callers write inside of texts: policies, patterns, what an alarm's state is about.

Called by model/ and services/, which word the refusal.
"""

import json
from typing import Any


def read(text: str) -> Any:
    """Raise ValueError for what is no JSON, is nested too deep, or has what no store can keep: halves of
    characters (escaped ones are seen only here), and numbers that are none."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("the JSON is nested too deep") from None
    return value
