"""Where the periods of a request lie: AWS rounds its start down, the older the coarser. For this room."""

_MINUTE, _FIVE, _HOUR = 60, 300, 3600
_DAY = 86_400
_EARLIEST, _LATEST = 0, 253_402_300_799


def rounded(start: float, end: float, period: int, now: float) -> tuple[int, int]:
    """Start and end in whole seconds; periods are counted from the start."""
    first, last = (min(max(int(at), _EARLIEST), _LATEST) for at in (start, end))
    age = now - first
    if age > 63 * _DAY:
        step = _HOUR
    elif age > 15 * _DAY:
        step = _FIVE
    elif period < _MINUTE and age <= 3 * _HOUR:
        step = period
    else:
        step = _MINUTE
    return first - first % step, last + (1 if end > last else 0)
