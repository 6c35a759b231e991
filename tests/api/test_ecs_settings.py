"""Account settings: a principal's own, the account's, AWS's."""

import dataclasses
from typing import Any

import pytest

from tests.support.ecs import SCOPE, Ecs, refused

INVALID = "InvalidParameterException"
ROOT = f"arn:aws:iam::{SCOPE.account}:root"
USER = f"arn:aws:iam::{SCOPE.account}:user/u"
NAMES = [
    "awsvpcTrunking",
    "containerInsights",
    "containerInstanceLongArnFormat",
    "defaultLogDriverMode",
    "fargateEventWindows",
    "fargateFIPSMode",
    "fargateTaskRetirementWaitPeriod",
    "guardDutyActivate",
    "serviceLongArnFormat",
    "tagResourceAuthorization",
    "taskLongArnFormat",
]


async def shown(ecs: Ecs, **params: Any) -> dict[str, str]:
    found, token = [], {}
    while True:
        answer = await ecs.list_account_settings(**params, **token)
        found += answer["settings"]
        if "nextToken" not in answer:
            return {setting["name"]: setting["value"] for setting in found}
        token = {"nextToken": answer["nextToken"]}


async def test_awss_defaults_are_in_force_and_none_is_set(ecs: Ecs) -> None:
    assert await shown(ecs) == {}
    effective = await shown(ecs, effectiveSettings=True)
    assert list(effective) == NAMES
    assert effective["containerInsights"] == "disabled"
    assert effective["taskLongArnFormat"] == "enabled"
    assert effective["fargateTaskRetirementWaitPeriod"] == "7"
    assert effective["defaultLogDriverMode"] == "non-blocking"


async def test_roots_settings_are_everybodys_defaults(ecs: Ecs) -> None:
    answer = await ecs.put_account_setting(name="containerInsights", value="enabled")
    assert answer["setting"] == {
        "name": "containerInsights",
        "value": "enabled",
        "principalArn": ROOT,
        "type": "user",
    }
    assert await shown(ecs) == {"containerInsights": "enabled"}
    assert await shown(ecs, principalArn=USER) == {}
    assert (await shown(ecs, principalArn=USER, effectiveSettings=True))["containerInsights"] == "enabled"
    await ecs.put_account_setting(name="containerInsights", value="enhanced", principalArn=USER)
    assert await shown(ecs) == {"containerInsights": "enabled"}
    assert await shown(ecs, principalArn=USER) == {"containerInsights": "enhanced"}
    gone = await ecs.delete_account_setting(name="containerInsights", principalArn=USER)
    assert gone["setting"]["value"] == "enabled", "what is in force now"
    assert (await ecs.delete_account_setting(name="containerInsights"))["setting"]["value"] == "disabled"
    assert await shown(ecs) == {}


async def test_a_user_sets_its_own_and_may_set_the_default(ecs: Ecs) -> None:
    as_root = ecs.call
    ecs.call = dataclasses.replace(as_root, principal_arn=USER)
    await ecs.put_account_setting(name="fargateFIPSMode", value="enabled")
    await ecs.put_account_setting_default(name="awsvpcTrunking", value="enabled")
    assert await shown(ecs) == {"fargateFIPSMode": "enabled"}
    ecs.call = as_root
    assert await shown(ecs) == {"awsvpcTrunking": "enabled"}


async def test_new_clusters_have_the_accounts_insights(ecs: Ecs) -> None:
    await ecs.put_account_setting_default(name="containerInsights", value="enhanced")
    (cluster,) = (await ecs.create_cluster()).values()
    assert cluster["settings"] == [{"name": "containerInsights", "value": "enhanced"}]
    disabled = [{"name": "containerInsights", "value": "disabled"}]
    (cluster,) = (await ecs.create_cluster(clusterName="c", settings=disabled)).values()
    assert cluster["settings"] == disabled


async def test_the_list_filters_and_pages(ecs: Ecs) -> None:
    assert await shown(ecs, effectiveSettings=True, name="fargateFIPSMode") == {"fargateFIPSMode": "disabled"}
    assert await shown(ecs, effectiveSettings=True, name="fargateFIPSMode", value="enabled") == {}
    first = await ecs.list_account_settings(effectiveSettings=True)
    assert [s["name"] for s in first["settings"]] == NAMES[:10]
    rest = await ecs.list_account_settings(effectiveSettings=True, nextToken=first["nextToken"])
    assert [s["name"] for s in rest["settings"]] == NAMES[10:]
    assert "nextToken" not in rest
    assert rest["settings"][0]["principalArn"] == ROOT
    types = {s["name"]: s["type"] for s in first["settings"]}
    assert types["guardDutyActivate"] == "aws_managed"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"maxResults": 0}, "Invalid maxResults: it must be between 1 and 10."),
        ({"maxResults": 11}, "Invalid maxResults: it must be between 1 and 10."),
        ({"nextToken": "MXg="}, "Invalid token."),
        ({"value": "enabled"}, "A value can only be used together with a name."),
        ({"principalArn": "arn:aws:iam::999999999999:user/u"},
         "Invalid principalArn arn:aws:iam::999999999999:user/u: it must be a user or role of the account."),
        ({"principalArn": "me"}, "Invalid principalArn me: it must be a user or role of the account."),
    ],
)  # fmt: skip
async def test_lists_that_are_refused(ecs: Ecs, params: dict[str, Any], message: str) -> None:
    with refused(INVALID, message):
        await ecs.list_account_settings(**params)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("noSuch", "enabled", "Unknown account setting noSuch."),
        ("containerInsights", "on",
         "Invalid value for account setting containerInsights: it must be one of enabled, enhanced,"
         " disabled."),
        ("fargateTaskRetirementWaitPeriod", "3",
         "Invalid value for account setting fargateTaskRetirementWaitPeriod: it must be one of 0, 7, 14."),
        ("guardDutyActivate", "on",
         "The account setting guardDutyActivate is managed by AWS and cannot be changed."),
        ("taskLongArnFormat", "disabled",
         "The account setting taskLongArnFormat cannot be disabled: only long ARNs are supported."),
    ],
)  # fmt: skip
async def test_settings_that_are_refused(ecs: Ecs, name: str, value: str, message: str) -> None:
    for put in (ecs.put_account_setting, ecs.put_account_setting_default):
        with refused(INVALID, message):
            await put(name=name, value=value)
    assert await shown(ecs) == {}
