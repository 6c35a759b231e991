"""When a composite alarm's actions are held back by its suppressor. Pure; called by state/alarm_states.

    turned, suppressor in ALARM ......... held back (Alarm), until the suppressor leaves ALARM
    turned, suppressor not in ALARM ..... held back (WaitPeriod): the suppressor may follow; then taken
    suppressor leaves ALARM ............. held back (ExtensionPeriod): the alarm may follow; then taken

In AWS's words, the waits let two alarms with the same cause turn in either order.
"""

from msgspec.structs import replace

from neargate.model.alarm import ALARM, Alarm

BY_ALARM, BY_WAIT, BY_EXTENSION = "Alarm", "WaitPeriod", "ExtensionPeriod"


def turned(alarm: Alarm, suppressing: bool, now: float) -> Alarm:
    """The alarm has just got another state. suppressing -- its suppressor is in ALARM."""
    if not alarm.suppressor:
        return alarm
    if suppressing:
        return replace(alarm, suppressed_by=BY_ALARM, suppressed_until=None, suppressed_action=True)
    if alarm.state == ALARM and alarm.suppressor_wait:
        until = now + alarm.suppressor_wait
        return replace(alarm, suppressed_by=BY_WAIT, suppressed_until=until, suppressed_action=True)
    if alarm.suppressed_by == BY_EXTENSION:
        return replace(alarm, suppressed_action=True)
    return replace(alarm, suppressed_by="", suppressed_until=None, suppressed_action=False)


def suppressor_turned(alarm: Alarm, suppressing: bool, now: float) -> Alarm:
    """Its suppressor has just got another state."""
    if suppressing:
        return replace(alarm, suppressed_by=BY_ALARM, suppressed_until=None)
    if alarm.suppressed_by != BY_ALARM:
        return alarm
    if alarm.suppressor_extension:
        until = now + alarm.suppressor_extension
        return replace(alarm, suppressed_by=BY_EXTENSION, suppressed_until=until)
    return replace(alarm, suppressed_by="", suppressed_until=None)


def elapsed(alarm: Alarm, now: float) -> Alarm:
    """A wait or an extension is over."""
    if alarm.suppressed_until is None or alarm.suppressed_until > now:
        return alarm
    return replace(alarm, suppressed_by="", suppressed_until=None)
