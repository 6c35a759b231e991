"""RunTask's overrides. Each refusal by its message is in tests/api/test_ecs_run_task_refusals.py."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from neargate.kit.errors import ApiError
from neargate.model import sizes
from neargate.model.definition import normalise
from neargate.model.overrides import apply_overrides
from tests.support.ecs import container, definition

BODY = normalise(
    definition(
        container("a", cpu=100, memory=200, command=["own"]),
        container("b", memoryReservation=100),
        cpu="512",
        memory="1024",
    )
)
NAMES = ("a", "b")


def override(name: str, **members: Any) -> dict[str, Any]:
    return {"containerOverrides": [{"name": name, **members}]}


def test_nothing_overridden_is_the_definition() -> None:
    for given_ in ({}, {"containerOverrides": []}, {"cpu": None, "memory": ""}):
        found = apply_overrides(BODY, given_)
        assert (found.cpu, found.memory, found.storage) == (512, 1024, 20)
        assert list(found.containers) == BODY["containerDefinitions"]
        assert found.overrides == {
            "containerOverrides": [{"name": "a"}, {"name": "b"}],
            "inferenceAcceleratorOverrides": [],
        }


def test_an_empty_list_overrides_nothing() -> None:
    found = apply_overrides(BODY, override("a", command=[], environment=[]))
    assert found.overrides["containerOverrides"][0] == {"name": "a"}


def test_storage_is_the_overrides_then_the_definitions_then_the_default() -> None:
    own = normalise(definition(ephemeralStorage={"sizeInGiB": 50}))
    assert apply_overrides(own, {}).storage == 50
    assert apply_overrides(own, {"ephemeralStorage": {"sizeInGiB": 60}}).storage == 60
    assert apply_overrides(BODY, {}).storage == sizes.STORAGE_DEFAULT


def test_a_container_may_grow_with_its_task() -> None:
    found = apply_overrides(
        BODY, {"cpu": "1024", "memory": "2048", "containerOverrides": [{"name": "a", "memory": 2048}]}
    )
    assert [c.get("memory") for c in found.containers] == [2048, None]


def test_a_container_must_fit_when_its_task_shrinks() -> None:
    big = normalise(definition(container(memory=2000), cpu="1024", memory="2048"))
    try:
        apply_overrides(big, {"cpu": "256", "memory": "1024"})
    except ApiError as error:
        assert error.message == "The 'memory' setting for container 'web-app' is greater than for the task"
    else:
        raise AssertionError("accepted")


amounts = st.none() | st.integers(-10, 1200)
overrides = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from(["256", "512", "1 vCPU", "x", None]),
        "memory": st.sampled_from(["512", "1024", "2GB", "3000", None]),
        "ephemeralStorage": st.fixed_dictionaries({"sizeInGiB": st.integers(15, 210)}),
        "containerOverrides": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from([*NAMES, "c", ""])},
                optional={
                    "cpu": amounts,
                    "memory": amounts,
                    "memoryReservation": amounts,
                    "command": st.lists(st.text(max_size=3), max_size=2),
                    "environment": st.lists(
                        st.fixed_dictionaries({"name": st.text(max_size=2), "value": st.text(max_size=2)}),
                        max_size=2,
                    ),
                },
            ),
            max_size=3,
        ),
    },
)


@given(overrides)
def test_whatever_is_overridden_the_task_is_one_that_fargate_has_or_it_is_refused(
    given_: dict[str, Any],
) -> None:
    try:
        found = apply_overrides(BODY, given_)
    except ApiError as error:
        assert error.code in ("ClientException", "InvalidParameterException")
        return
    sizes.check_fargate(found.cpu, found.memory)
    assert found.storage == 20 or 21 <= found.storage <= 200
    assert sum(c["cpu"] for c in found.containers) <= found.cpu
    by_name = {o["name"]: o for o in given_.get("containerOverrides", ())}
    for before, after in zip(BODY["containerDefinitions"], found.containers, strict=True):
        changed = by_name.get(before["name"], {})
        for member in ("cpu", "memory", "memoryReservation"):
            wanted = changed.get(member)
            assert after.get(member) == (before.get(member) if wanted is None else wanted)
        assert 4 <= after.get("memory", 4) <= found.memory
        assert after.get("memoryReservation", 0) <= after.get("memory", found.memory)
        assert {k: v for k, v in after.items() if k not in ("cpu", "memory", "memoryReservation")} == {
            k: v for k, v in before.items() if k not in ("cpu", "memory", "memoryReservation")
        }
    assert [o["name"] for o in found.overrides["containerOverrides"]] == list(NAMES)
    assert apply_overrides(BODY, found.overrides) == found, "what is shown can be asked for again"
