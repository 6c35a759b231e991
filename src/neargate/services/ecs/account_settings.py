"""Account settings: what a principal set, what the account's default is, what AWS's is without either.

Called by gateway/dispatch; `value` by clusters.py. As on AWS, root's settings are the account's defaults.
"""

from typing import Any, Final

from neargate.model.task import AccountSetting
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, pages
from neargate.state.catalog import ACCOUNT_SETTING
from neargate.state.store import Tx

_SWITCH: Final = ("enabled", "disabled")
_LONG_ARNS: Final = ("serviceLongArnFormat", "taskLongArnFormat", "containerInstanceLongArnFormat")
# Name -> (values it may have, AWS's own). Of the last, which follows a setting of the daemon, the first wins.
_SETTINGS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    **{name: (_SWITCH, "enabled") for name in _LONG_ARNS},
    "awsvpcTrunking": (_SWITCH, "disabled"),
    "containerInsights": (("enabled", "enhanced", "disabled"), "disabled"),
    "fargateFIPSMode": (_SWITCH, "disabled"),
    "tagResourceAuthorization": (("on", "off"), "on"),
    "fargateTaskRetirementWaitPeriod": (("0", "7", "14"), "7"),
    "guardDutyActivate": (("on", "off"), "off"),
    "defaultLogDriverMode": (("blocking", "non-blocking"), "non-blocking"),
    "fargateEventWindows": (_SWITCH, "disabled"),
}
_MANAGED: Final = "guardDutyActivate"
_PAGE: Final = 10


def _root(call: Call) -> str:
    return f"arn:aws:iam::{call.scope.account}:root"


def _owner(call: Call, arn: str | None) -> str:
    """The principal as records hold it: empty for root, whose settings are the account's defaults."""
    arn = arn or call.principal_arn
    names.storable({"arn": arn})
    if arn == _root(call):
        return ""
    if not arn.startswith(f"arn:aws:iam::{call.scope.account}:") and arn != call.principal_arn:
        raise names.invalid(f"Invalid principalArn {arn[:300]}: it must be a user or role of the account.")
    return arn


def _id(call: Call, owner: str, name: str) -> str:
    return f"{call.scope.account}/{call.scope.region}/{owner}/{name}"


def value(tx: Tx, call: Call, name: str, owner: str | None = None) -> str:
    """The setting in force for a principal (the caller if not said)."""
    owner = _owner(call, None) if owner is None else owner
    for holder in dict.fromkeys((owner, "")):
        setting = tx.get(ACCOUNT_SETTING, _id(call, holder, name))
        if setting is not None:
            return setting.value
    return call.settings.log_driver_mode if name == "defaultLogDriverMode" else _SETTINGS[name][1]


def _shown(call: Call, name: str, value: str, owner: str) -> dict[str, Any]:
    kind = "aws_managed" if name == _MANAGED else "user"
    return {"name": name, "value": value, "principalArn": owner or _root(call), "type": kind}


def _check(name: str, value: str) -> None:
    if name not in _SETTINGS:
        raise names.invalid(f"Unknown account setting {name[:100]}.")
    values = _SETTINGS[name][0]
    if value not in values:
        raise names.invalid(
            f"Invalid value for account setting {name}: it must be one of {', '.join(values)}."
        )
    if name == _MANAGED:
        raise names.invalid(f"The account setting {name} is managed by AWS and cannot be changed.")
    if name in _LONG_ARNS and value == "disabled":
        raise names.invalid(f"The account setting {name} cannot be disabled: only long ARNs are supported.")


async def put_account_setting(call: Call, params: Params) -> Result:
    return await _put(call, params["name"], params["value"], _owner(call, params.get("principalArn")))


async def put_account_setting_default(call: Call, params: Params) -> Result:
    return await _put(call, params["name"], params["value"], "")


async def _put(call: Call, name: str, value: str, owner: str) -> Result:
    _check(name, value)
    setting = AccountSetting(
        account=call.scope.account, region=call.scope.region, name=name, value=value, principal_arn=owner
    )
    await call.store.write(lambda tx: tx.put(ACCOUNT_SETTING, setting))
    return {"setting": _shown(call, name, value, owner)}


async def delete_account_setting(call: Call, params: Params) -> Result:
    """Back to the default; without one set there is nothing to do, as on AWS."""
    name, owner = params["name"], _owner(call, params.get("principalArn"))

    def body(tx: Tx) -> Result:
        tx.delete(ACCOUNT_SETTING, _id(call, owner, name))
        return {"setting": _shown(call, name, value(tx, call, name, owner), owner)}

    return await call.store.write(body)


async def list_account_settings(call: Call, params: Params) -> Result:
    page = pages.read(call, params, "ListAccountSettings", most=_PAGE, usual=_PAGE)
    owner = _owner(call, params.get("principalArn"))
    wanted, wanted_value = params.get("name"), params.get("value")
    if wanted_value is not None and wanted is None:
        raise names.invalid("A value can only be used together with a name.")

    def body(tx: Tx) -> list[dict[str, Any]]:
        found = []
        for name in sorted(_SETTINGS):
            if name <= page.after or wanted not in (None, name):
                continue
            if params.get("effectiveSettings"):
                current = value(tx, call, name, owner)
            else:
                setting = tx.get(ACCOUNT_SETTING, _id(call, owner, name))
                if setting is None:
                    continue
                current = setting.value
            if wanted_value in (None, current):
                found.append(_shown(call, name, current, owner))
        return found

    return page.answer("settings", await call.store.read(body), lambda setting: str(setting["name"]))
