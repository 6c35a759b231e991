"""The catalogue: services found by name, target prefix and signing name, read when they are needed."""

import botocore.loaders
import pytest
from botocore import xform_name

from neargate.wire.models import Catalogue, UnknownService

CATALOGUE = Catalogue()


def test_names_and_operations() -> None:
    ecs = CATALOGUE.service("ecs")
    assert (ecs.name, ecs.signing_name, ecs.api_version) == ("ecs", "ecs", "2014-11-13")
    assert ecs.operations["RunTask"].python_name == "run_task"
    assert CATALOGUE.service("ecs") is ecs
    assert CATALOGUE.service("ecr").signing_name == "ecr"


@pytest.mark.parametrize("name", ["", "nothing", "../data/ecs", "ecs/2014-11-13", ".", "endpoints.json"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UnknownService):
        CATALOGUE.service(name)


def test_found_by_target_prefix() -> None:
    fresh = Catalogue()
    assert fresh.by_target_prefix("AmazonEC2ContainerServiceV20141113") == "ecs"
    assert fresh.by_target_prefix("Logs_20140328") == "logs"
    assert fresh.by_target_prefix("") is None
    assert fresh.by_target_prefix("Nothing") is None


def test_found_by_signing_name() -> None:
    assert CATALOGUE.by_signing_name("ecr") == ["ecr"]
    assert {"elb", "elbv2"} <= set(CATALOGUE.by_signing_name("elasticloadbalancing"))
    assert CATALOGUE.by_signing_name("nothing") == []


def test_the_index_has_every_service() -> None:
    fresh = Catalogue()
    for name in botocore.loaders.Loader().list_available_services("service-2"):
        service = fresh.service(name)
        assert name in fresh.by_signing_name(service.signing_name)


def test_models_are_read_as_botocore_reads_them() -> None:
    loader = botocore.loaders.Loader()
    fresh = Catalogue()
    for name in loader.list_available_services("service-2")[::16]:
        service = fresh.service(name)
        model = loader.load_service_model(name, "service-2")
        metadata = model["metadata"]
        assert service.api_version == metadata["apiVersion"]
        assert service.signing_name == metadata.get("signingName", metadata["endpointPrefix"])
        assert set(service.operations) == set(model["operations"])
        for operation in service.operations.values():
            assert operation.python_name == xform_name(operation.name)
