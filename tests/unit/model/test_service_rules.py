"""deploymentConfiguration and the other rules of services: what is refused, what is made of the rest."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.kit.errors import ApiError
from neargate.model import service_rules
from neargate.model.service_rules import deployment_configuration

INVALID, UNSUPPORTED = "InvalidParameterException", "UnsupportedFeatureException"
PLAIN = {
    "deploymentCircuitBreaker": {"enable": False, "rollback": False},
    "maximumPercent": 200,
    "minimumHealthyPercent": 100,
    "strategy": "ROLLING",
    "bakeTimeInMinutes": 0,
}
BREAKER = {"enable": True, "rollback": True}
PAUSE = {"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]}
SHIFTED = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (None, {}),
        ({"maximumPercent": 125}, {"maximumPercent": 125}),
        ({"minimumHealthyPercent": 0, "maximumPercent": 100},
         {"minimumHealthyPercent": 0, "maximumPercent": 100}),
        ({"deploymentCircuitBreaker": BREAKER}, {
            "deploymentCircuitBreaker": {
                **BREAKER,
                "thresholdConfiguration": {"type": "BOUNDED_PERCENT", "value": 50},
                "resetOnHealthyTask": True,
            }
        }),
        ({"deploymentCircuitBreaker": {
            **BREAKER,
            "resetOnHealthyTask": False,
            "thresholdConfiguration": {"type": "COUNT", "value": 7},
        }}, {"deploymentCircuitBreaker": {
            **BREAKER,
            "resetOnHealthyTask": False,
            "thresholdConfiguration": {"type": "COUNT", "value": 7},
        }}),
        ({"alarms": {"alarmNames": ["a", "b", "a"], "enable": True, "rollback": False}},
         {"alarms": {"alarmNames": ["a", "b"], "enable": True, "rollback": False}}),
        (SHIFTED, {**SHIFTED, "lifecycleHooks": []}),
        ({"strategy": "LINEAR"}, {
            "strategy": "LINEAR",
            "lifecycleHooks": [],
            "linearConfiguration": {"stepPercent": 10.0, "stepBakeTimeInMinutes": 6},
        }),
        ({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 0.1}}, {
            "strategy": "CANARY",
            "lifecycleHooks": [],
            "canaryConfiguration": {"canaryPercent": 0.1, "canaryBakeTimeInMinutes": 10},
        }),
        ({**SHIFTED, "lifecycleHooks": [PAUSE]}, {**SHIFTED, "lifecycleHooks": [
            {**PAUSE, "timeoutConfiguration": {"timeoutInMinutes": 1440, "action": "ROLLBACK"}}
        ]}),
        ({"earlySuccessCriteria": {"enable": False}}, {}),
    ],
)  # fmt: skip
def test_what_is_not_given_is_spelt_out(given: dict[str, Any] | None, made: dict[str, Any]) -> None:
    assert deployment_configuration(given) == {**PLAIN, **made}


def hook(**members: Any) -> dict[str, Any]:
    return {**SHIFTED, "lifecycleHooks": [{**PAUSE, **members}]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"minimumHealthyPercent": 101}, "minimumHealthyPercent must be at most 100"),
        ({"minimumHealthyPercent": -1}, "minimumHealthyPercent must be at least 0"),
        ({"maximumPercent": 99}, "maximumPercent must be at least 100"),
        ({"maximumPercent": 2**31}, "maximumPercent must be at most 2147483647"),
        ({"maximumPercent": 100},
         "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments"),
        ({"deploymentCircuitBreaker": {**BREAKER, "thresholdConfiguration": {"type": "COUNT", "value": 0}}},
         "The value of thresholdConfiguration must be at least 1."),
        ({"alarms": {"alarmNames": [], "enable": True, "rollback": False}},
         "alarmNames cannot be empty when deployment alarms are enabled."),
        ({"strategy": "BLUE_GREEN"},
         "bakeTimeInMinutes is required when the deployment strategy is BLUE_GREEN."),
        ({"bakeTimeInMinutes": 1441}, "bakeTimeInMinutes must be between 0 and 1440."),
        ({"linearConfiguration": {"stepPercent": 10.0}},
         "linearConfiguration is only valid when the deployment strategy is LINEAR."),
        ({**SHIFTED, "canaryConfiguration": {"canaryPercent": 10.0}},
         "canaryConfiguration is only valid when the deployment strategy is CANARY."),
        ({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 2.9}},
         "stepPercent must be a multiple of 0.1 between 3.0 and 100.0."),
        ({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 10.05}},
         "stepPercent must be a multiple of 0.1 between 3.0 and 100.0."),
        ({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": float("nan")}},
         "stepPercent must be a multiple of 0.1 between 3.0 and 100.0."),
        ({"strategy": "LINEAR", "linearConfiguration": {"stepBakeTimeInMinutes": 1441}},
         "stepBakeTimeInMinutes must be between 0 and 1440."),
        ({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 0.0}},
         "canaryPercent must be a multiple of 0.1 between 0.1 and 100.0."),
        ({"lifecycleHooks": [PAUSE]},
         "lifecycleHooks are not supported when the deployment strategy is ROLLING."),
        (hook(lifecycleStages=[]), "lifecycleStages must be specified for a lifecycle hook."),
        (hook(lifecycleStages=["TEST_TRAFFIC_SHIFT"]),
         "PAUSE lifecycle hooks cannot be configured at the TEST_TRAFFIC_SHIFT stage."),
        (hook(roleArn="r"), "roleArn is not applicable for PAUSE lifecycle hooks."),
        (hook(timeoutConfiguration={"timeoutInMinutes": 0}),
         "timeoutInMinutes must be between 1 and 20160."),
        ({**SHIFTED, "lifecycleHooks": [PAUSE, PAUSE]},
         "A lifecycle stage can have at most one PAUSE hook."),
    ],
)  # fmt: skip
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        deployment_configuration(given)
    assert (caught.value.code, caught.value.message) == (INVALID, message)


@pytest.mark.parametrize(
    "given",
    [
        {**SHIFTED, "lifecycleHooks": [{"hookTargetArn": "arn:aws:lambda:::f", "lifecycleStages": ["BAKE"]}]},
        {"earlySuccessCriteria": {"enable": True, "healthyPercent": 100}},
    ],
)
def test_what_cannot_be_done_here(given: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        deployment_configuration(given)
    assert caught.value.code == UNSUPPORTED


def test_an_update_changes_what_it_names() -> None:
    before = deployment_configuration({"deploymentCircuitBreaker": BREAKER, "maximumPercent": 150})
    assert deployment_configuration({"minimumHealthyPercent": 50}, before) == {
        **before,
        "minimumHealthyPercent": 50,
    }
    canary = deployment_configuration({"strategy": "CANARY"}, before)
    assert deployment_configuration({"strategy": "ROLLING"}, canary) == before
    hooked = deployment_configuration({**SHIFTED, "lifecycleHooks": [PAUSE]}, before)
    assert deployment_configuration({"lifecycleHooks": []}, hooked)["lifecycleHooks"] == []


STAGES = ("PRE_SCALE_UP", "POST_SCALE_UP", "TEST_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT")
configurations = st.fixed_dictionaries(
    {},
    optional={
        "maximumPercent": st.integers(90, 250),
        "minimumHealthyPercent": st.integers(-5, 105),
        "strategy": st.sampled_from(["ROLLING", "BLUE_GREEN", "LINEAR", "CANARY"]),
        "bakeTimeInMinutes": st.integers(-1, 1500),
        "deploymentCircuitBreaker": st.fixed_dictionaries(
            {"enable": st.booleans(), "rollback": st.booleans()},
            optional={"resetOnHealthyTask": st.booleans()},
        ),
        "linearConfiguration": st.fixed_dictionaries({}, optional={"stepPercent": st.floats(0, 110)}),
        "canaryConfiguration": st.fixed_dictionaries({}, optional={"canaryPercent": st.floats(0, 110)}),
        "lifecycleHooks": st.lists(
            st.fixed_dictionaries(
                {
                    "targetType": st.just("PAUSE"),
                    "lifecycleStages": st.lists(st.sampled_from(STAGES), max_size=2),
                }
            ),
            max_size=2,
        ),
    },
)


@given(configurations, configurations)
def test_what_is_made_is_right_in_itself(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Read again it is the same, alone or as what was before; and it can always be deployed by."""
    try:
        made = deployment_configuration(first)
        assert deployment_configuration(made) == deployment_configuration(None, made) == made
        made = deployment_configuration(second, made)
    except ApiError as error:
        assert error.code == INVALID
        return
    assert deployment_configuration(None, made) == made
    assert 0 <= made["minimumHealthyPercent"] <= 100 <= made["maximumPercent"]
    assert made["maximumPercent"] > made["minimumHealthyPercent"]
    assert ("linearConfiguration" in made) == (made["strategy"] == "LINEAR")
    assert ("canaryConfiguration" in made) == (made["strategy"] == "CANARY")


@pytest.mark.parametrize(
    ("asked", "maximum", "before", "made"),
    [
        (None, 200, "", "ENABLED"),
        (None, 100, "", "DISABLED"),
        ("DISABLED", 200, "ENABLED", "DISABLED"),
        (None, 200, "DISABLED", "DISABLED"),
        ("ENABLED", 101, "DISABLED", "ENABLED"),
        (None, 100, "ENABLED", "DISABLED"),
    ],
)
def test_rebalancing(asked: str | None, maximum: int, before: str, made: str) -> None:
    assert service_rules.rebalancing(asked, {"maximumPercent": maximum}, before) == made


def test_rebalancing_needs_room() -> None:
    with pytest.raises(ApiError, match="requires a maximumPercent greater than 100"):
        service_rules.rebalancing("ENABLED", {"maximumPercent": 100}, "ENABLED")


def test_numbers_and_names() -> None:
    assert service_rules.check_desired(None, 3) == 3
    assert service_rules.check_desired(5000, 0) == 5000
    for count in (-1, 5001):
        with pytest.raises(ApiError, match="desiredCount must be between 0 and 5000"):
            service_rules.check_desired(count, 0)
    assert service_rules.check_grace(2_147_483_647) == 2_147_483_647
    with pytest.raises(ApiError, match="healthCheckGracePeriodSeconds"):
        service_rules.check_grace(-1)
    assert service_rules.check_name("a_B-9" * 51) == "a_B-9" * 51
    for name in ("", "a b", "a/b", "ä", "x" * 256):
        with pytest.raises(ApiError, match="Invalid service name"):
            service_rules.check_name(name)
