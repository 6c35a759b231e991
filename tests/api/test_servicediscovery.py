"""Cloud Map by an unmodified client: namespaces, services, instances, discovery, operations, tags."""

from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from msgspec.structs import replace

from neargate.state.catalog import TASK
from tests.support.door import Door
from tests.support.real import eventually

ACCOUNT = "000000000000"


@pytest.fixture
def cloudmap(door: Door) -> Any:
    # `data-127.0.0.1` has no address here: tests/e2e/test_discovery.py does without this.
    config = Config(retries={"total_max_attempts": 1}, inject_host_prefix=False)
    return door.client("servicediscovery", config=config)


@pytest.fixture
def vpc(door: Door) -> str:
    return str(door.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"])


def refused(code: str, operation: Any, **params: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        operation(**params)
    response: Any = caught.value.response
    assert response["Error"]["Code"] == code, caught.value
    return dict(response)


def finished(cloudmap: Any, answer: dict[str, Any]) -> dict[str, str]:
    """The targets of an operation that succeeded."""
    operation = cloudmap.get_operation(OperationId=answer["OperationId"])["Operation"]
    assert operation["Status"] == "SUCCESS", operation
    return dict(operation["Targets"])


def namespace(cloudmap: Any, vpc: str = "", name: str = "corp.internal") -> str:
    if vpc:
        made = cloudmap.create_private_dns_namespace(Name=name, Vpc=vpc)
    else:
        made = cloudmap.create_http_namespace(Name=name)
    return finished(cloudmap, made)["NAMESPACE"]


def service(cloudmap: Any, namespace_id: str, name: str = "web", **params: Any) -> dict[str, Any]:
    made = cloudmap.create_service(Name=name, NamespaceId=namespace_id, **params)["Service"]
    return dict(made)


def dns(*kinds: str, policy: str = "MULTIVALUE") -> dict[str, Any]:
    records = [{"Type": kind, "TTL": 10} for kind in kinds]
    return {"RoutingPolicy": policy, "DnsRecords": records}


def register(cloudmap: Any, service_id: str, id: str, **attributes: str) -> None:
    finished(
        cloudmap,
        cloudmap.register_instance(ServiceId=service_id, InstanceId=id, Attributes=attributes),
    )


def test_a_private_namespace_from_birth_to_death(cloudmap: Any, vpc: str) -> None:
    made = cloudmap.create_private_dns_namespace(
        Name="corp.internal",
        Vpc=vpc,
        Description="ours",
        CreatorRequestId="once",
        Properties={"DnsProperties": {"SOA": {"TTL": 60}}},
        Tags=[{"Key": "team", "Value": "a"}],
    )
    id = finished(cloudmap, made)["NAMESPACE"]
    shown = cloudmap.get_namespace(Id=id)["Namespace"]
    assert shown["Arn"] == f"arn:aws:servicediscovery:us-east-1:{ACCOUNT}:namespace/{id}"
    assert (shown["Name"], shown["Type"], shown["Description"]) == ("corp.internal", "DNS_PRIVATE", "ours")
    assert shown["CreatorRequestId"] == "once" and shown["ServiceCount"] == 0
    assert shown["Properties"]["DnsProperties"]["SOA"] == {"TTL": 60}
    assert shown["Properties"]["DnsProperties"]["HostedZoneId"].startswith("Z")
    assert shown["Properties"]["HttpProperties"] == {"HttpName": "corp.internal"}
    assert cloudmap.get_namespace(Id=shown["Arn"])["Namespace"]["Id"] == id
    change = {"Description": "theirs", "Properties": {"DnsProperties": {"SOA": {"TTL": 5}}}}
    finished(cloudmap, cloudmap.update_private_dns_namespace(Id=id, Namespace=change))
    shown = cloudmap.get_namespace(Id=id)["Namespace"]
    assert shown["Description"] == "theirs" and shown["Properties"]["DnsProperties"]["SOA"] == {"TTL": 5}
    refused("InvalidInput", cloudmap.update_http_namespace, Id=id, Namespace={"Description": "x"})
    made = service(cloudmap, id, DnsConfig=dns("A"))
    refused("ResourceInUse", cloudmap.delete_namespace, Id=id)
    cloudmap.delete_service(Id=made["Id"])
    finished(cloudmap, cloudmap.delete_namespace(Id=id))
    refused("NamespaceNotFound", cloudmap.get_namespace, Id=id)
    refused("NamespaceNotFound", cloudmap.delete_namespace, Id=id)


def test_a_namespace_is_made_once(cloudmap: Any, vpc: str) -> None:
    first = cloudmap.create_private_dns_namespace(Name="a.b", Vpc=vpc, CreatorRequestId="once")
    again = cloudmap.create_private_dns_namespace(Name="a.b", Vpc=vpc, CreatorRequestId="once")
    assert first["OperationId"] == again["OperationId"]
    response = refused(
        "NamespaceAlreadyExists",
        cloudmap.create_private_dns_namespace,
        Name="a.b",
        Vpc=vpc,
        CreatorRequestId="twice",
    )
    assert response["NamespaceId"] == finished(cloudmap, first)["NAMESPACE"]
    assert response["CreatorRequestId"] == "once"
    # Another kind of namespace may have the name; DiscoverInstances tells them apart.
    other = cloudmap.get_namespace(Id=namespace(cloudmap, name="a.b"))["Namespace"]
    assert other["Properties"]["HttpProperties"]["HttpName"].startswith("a.b-")


def test_an_operation_that_failed_says_so(cloudmap: Any) -> None:
    made = cloudmap.create_private_dns_namespace(Name="a.b", Vpc="vpc-0")
    operation = cloudmap.get_operation(OperationId=made["OperationId"])["Operation"]
    assert operation["Status"] == "FAIL" and operation["ErrorCode"] == "CANNOT_CREATE_HOSTED_ZONE"
    assert "vpc-0" in operation["ErrorMessage"] and operation["Type"] == "CREATE_NAMESPACE"
    assert cloudmap.list_namespaces()["Namespaces"] == []
    refused("OperationNotFound", cloudmap.get_operation, OperationId="none")


@pytest.mark.parametrize("name", ["-a.b", "a..b", "a_.b.", "x" * 64 + ".b", "a/b"])
def test_a_dns_namespace_has_a_domain_name(cloudmap: Any, vpc: str, name: str) -> None:
    refused("InvalidInput", cloudmap.create_private_dns_namespace, Name=name, Vpc=vpc)


def test_lists_are_filtered_and_paged(cloudmap: Any, vpc: str) -> None:
    private = namespace(cloudmap, vpc)
    https = [namespace(cloudmap, name=f"h{i}") for i in range(3)]
    pages = cloudmap.get_paginator("list_namespaces").paginate(PaginationConfig={"PageSize": 2})
    assert sorted(n["Id"] for page in pages for n in page["Namespaces"]) == sorted([private, *https])

    def listed(**item: Any) -> list[str]:
        return sorted(n["Id"] for n in cloudmap.list_namespaces(Filters=[item])["Namespaces"])

    assert listed(Name="TYPE", Values=["DNS_PRIVATE"]) == [private]
    assert listed(Name="NAME", Values=["h"], Condition="BEGINS_WITH") == sorted(https)
    assert listed(Name="HTTP_NAME", Values=["h1"], Condition="EQ") == [https[1]]
    assert listed(Name="RESOURCE_OWNER", Values=["OTHER_ACCOUNTS"]) == []
    item = {"Name": "TYPE", "Values": ["HTTP", "DNS_PRIVATE"], "Condition": "IN"}
    refused("InvalidInput", cloudmap.list_namespaces, Filters=[item])
    refused("InvalidInput", cloudmap.list_namespaces, NextToken="%%")
    web, other = service(cloudmap, https[0]), service(cloudmap, https[1], name="other")
    found = cloudmap.list_services(Filters=[{"Name": "NAMESPACE_ID", "Values": [https[1]]}])["Services"]
    assert [s["Id"] for s in found] == [other["Id"]]
    assert {s["Id"] for s in cloudmap.list_services()["Services"]} == {web["Id"], other["Id"]}
    operations = cloudmap.list_operations(
        Filters=[{"Name": "TYPE", "Values": ["CREATE_NAMESPACE"], "Condition": "IN"}]
    )["Operations"]
    assert len(operations) == 4 and {o["Status"] for o in operations} == {"SUCCESS"}
    span = {"Name": "UPDATE_DATE", "Values": ["0", "1"], "Condition": "BETWEEN"}
    assert cloudmap.list_operations(Filters=[span])["Operations"] == []


def test_a_service_shows_what_it_was_made_of(cloudmap: Any, vpc: str) -> None:
    id = namespace(cloudmap, vpc)
    made = service(
        cloudmap,
        id,
        DnsConfig=dns("A"),
        HealthCheckCustomConfig={"FailureThreshold": 5},
        Description="d",
        CreatorRequestId="once",
    )
    assert made["Arn"] == f"arn:aws:servicediscovery:us-east-1:{ACCOUNT}:service/{made['Id']}"
    assert made["Type"] == "DNS_HTTP" and made["NamespaceId"] == id and made["InstanceCount"] == 0
    assert made["DnsConfig"]["DnsRecords"] == [{"Type": "A", "TTL": 10}]
    assert made["HealthCheckCustomConfig"] == {"FailureThreshold": 1}
    assert cloudmap.get_service(Id=made["Arn"])["Service"] == made
    again = service(cloudmap, id, DnsConfig=dns("A"), CreatorRequestId="once")
    assert again["Id"] == made["Id"]
    response = refused("ServiceAlreadyExists", cloudmap.create_service, Name="WEB", NamespaceId=id)
    assert response["ServiceId"] == made["Id"] and response["ServiceArn"] == made["Arn"]
    assert cloudmap.get_namespace(Id=id)["Namespace"]["ServiceCount"] == 1
    finished(
        cloudmap,
        cloudmap.update_service(
            Id=made["Id"], Service={"DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": 99}]}}
        ),
    )
    shown = cloudmap.get_service(Id=made["Id"])["Service"]
    assert shown["DnsConfig"]["DnsRecords"] == [{"Type": "A", "TTL": 99}]
    assert shown["HealthCheckCustomConfig"] == {"FailureThreshold": 1} and "Description" not in shown
    change: dict[str, Any] = {"DnsConfig": {"DnsRecords": [{"Type": "SRV", "TTL": 1}]}}
    refused("InvalidInput", cloudmap.update_service, Id=made["Id"], Service=change)


def test_records_keep_their_order(cloudmap: Any, vpc: str) -> None:
    asked = dns("AAAA", "A")
    made = service(cloudmap, namespace(cloudmap, vpc), DnsConfig=asked)
    shown = cloudmap.get_service(Id=made["Id"])["Service"]
    assert shown["DnsConfig"]["DnsRecords"] == made["DnsConfig"]["DnsRecords"] == asked["DnsRecords"]


HEALTH = {"Type": "HTTP", "ResourcePath": "/"}


@pytest.mark.parametrize(
    "params",
    [
        {"DnsConfig": dns("A", "SRV")},
        {"DnsConfig": dns("A", "A")},
        {"DnsConfig": dns()},
        {"DnsConfig": dns("CNAME")},
        {"DnsConfig": dns("A"), "HealthCheckConfig": HEALTH},
        {"DnsConfig": dns("A"), "Type": "HTTP"},
        {"HealthCheckConfig": HEALTH, "HealthCheckCustomConfig": {}},
        {"Name": "x" * 62 + "." + "y" * 62 + "." + "z" * 62 + "." + "w" * 62},
    ],
)
def test_settings_that_do_not_go_together(cloudmap: Any, vpc: str, params: dict[str, Any]) -> None:
    id = namespace(cloudmap, vpc)
    refused("InvalidInput", cloudmap.create_service, **{"Name": "web", "NamespaceId": id, **params})
    assert cloudmap.list_services()["Services"] == []


def test_the_namespace_of_a_service(cloudmap: Any, vpc: str) -> None:
    http, private = namespace(cloudmap), namespace(cloudmap, vpc, "other.internal")
    refused("InvalidInput", cloudmap.create_service, Name="web")
    refused("NamespaceNotFound", cloudmap.create_service, Name="web", NamespaceId="ns-0")
    refused("InvalidInput", cloudmap.create_service, Name="web", NamespaceId=http, DnsConfig=dns("A"))
    inner = {**dns("A"), "NamespaceId": private}
    assert cloudmap.create_service(Name="web", DnsConfig=inner)["Service"]["NamespaceId"] == private
    refused("InvalidInput", cloudmap.create_service, Name="b", NamespaceId=http, DnsConfig=inner)
    # Only DNS does not tell letters' case.
    assert service(cloudmap, http, "web")["Id"] != service(cloudmap, http, "WEB")["Id"]


def test_instances_come_change_and_go(cloudmap: Any, vpc: str) -> None:
    id = service(cloudmap, namespace(cloudmap, vpc), DnsConfig=dns("A"))["Id"]
    register(cloudmap, id, "one", AWS_INSTANCE_IPV4="10.0.0.1", color="red")
    register(cloudmap, id, "two", AWS_INSTANCE_IPV4="10.0.0.2")
    shown = cloudmap.get_instance(ServiceId=id, InstanceId="one")["Instance"]
    assert shown["Attributes"] == {"AWS_INSTANCE_IPV4": "10.0.0.1", "color": "red"}
    register(cloudmap, id, "one", AWS_INSTANCE_IPV4="10.0.0.3")
    listed = cloudmap.list_instances(ServiceId=id)["Instances"]
    assert [(i["Id"], i["Attributes"]["AWS_INSTANCE_IPV4"]) for i in listed] == [
        ("one", "10.0.0.3"),
        ("two", "10.0.0.2"),
    ]
    assert cloudmap.get_service(Id=id)["Service"]["InstanceCount"] == 2
    response = refused("ResourceInUse", cloudmap.delete_service, Id=id)
    assert "registered instances" in response["Error"]["Message"]
    gone = finished(cloudmap, cloudmap.deregister_instance(ServiceId=id, InstanceId="one"))
    assert gone["SERVICE"] == id and gone["INSTANCE"] == "one"
    refused("InstanceNotFound", cloudmap.deregister_instance, ServiceId=id, InstanceId="one")
    refused("InstanceNotFound", cloudmap.get_instance, ServiceId=id, InstanceId="one")
    refused("ServiceNotFound", cloudmap.get_instance, ServiceId="srv-0", InstanceId="two")
    finished(cloudmap, cloudmap.deregister_instance(ServiceId=id, InstanceId="two"))
    cloudmap.delete_service(Id=id)
    refused("ServiceNotFound", cloudmap.get_service, Id=id)


@pytest.mark.parametrize(
    ("kinds", "attributes"),
    [
        (["A"], {}),
        (["A"], {"AWS_INSTANCE_IPV4": "10.0.0.256"}),
        (["A"], {"AWS_INSTANCE_IPV4": "::1"}),
        (["AAAA"], {"AWS_INSTANCE_IPV4": "10.0.0.1"}),
        (["SRV"], {"AWS_INSTANCE_IPV4": "10.0.0.1"}),
        (["SRV"], {"AWS_INSTANCE_PORT": "80"}),
        (["SRV"], {"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": "65536"}),
        (["A"], {"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INIT_HEALTH_STATUS": "FINE"}),
        (["A"], {"AWS_ALIAS_DNS_NAME": "lb-1.us-east-1.elb.amazonaws.com"}),
        (["A"], {"AWS_INSTANCE_IPV4": "10.0.0.1", **{f"k{i}": "v" for i in range(31)}}),
        (["A"], {"AWS_INSTANCE_IPV4": "10.0.0.1", **{f"k{i}": "v" * 1000 for i in range(5)}}),
    ],
)
def test_attributes_that_make_no_record(
    cloudmap: Any, vpc: str, kinds: list[str], attributes: dict[str, str]
) -> None:
    id = service(cloudmap, namespace(cloudmap, vpc), DnsConfig=dns(*kinds))["Id"]
    register = cloudmap.register_instance
    refused("InvalidInput", register, ServiceId=id, InstanceId="one", Attributes=attributes)
    assert cloudmap.list_instances(ServiceId=id)["Instances"] == []


def test_discovery_by_health_and_attributes(cloudmap: Any) -> None:
    space = namespace(cloudmap, name="space")
    id = service(cloudmap, space, HealthCheckCustomConfig={})["Id"]

    def found(**params: Any) -> set[str]:
        answer = cloudmap.discover_instances(NamespaceName="space", ServiceName="web", **params)
        return {instance["InstanceId"] for instance in answer["Instances"]}

    assert found() == set()
    register(cloudmap, id, "a", AWS_INIT_HEALTH_STATUS="UNHEALTHY", zone="1")
    assert found() == set() and found(HealthStatus="HEALTHY_OR_ELSE_ALL") == {"a"}
    register(cloudmap, id, "b", zone="1", color="red")
    register(cloudmap, id, "c", zone="2")
    assert found() == {"b", "c"} and found(HealthStatus="UNHEALTHY") == {"a"}
    assert found(HealthStatus="ALL") == {"a", "b", "c"}
    assert found(HealthStatus="HEALTHY_OR_ELSE_ALL") == {"b", "c"}
    assert found(QueryParameters={"zone": "1"}, HealthStatus="ALL") == {"a", "b"}
    assert found(QueryParameters={"zone": "1"}, OptionalParameters={"color": "red"}) == {"b"}
    assert found(QueryParameters={"zone": "2"}, OptionalParameters={"color": "red"}) == {"c"}
    assert len(found(MaxResults=1)) == 1
    cloudmap.update_instance_custom_health_status(ServiceId=id, InstanceId="b", Status="UNHEALTHY")
    assert found() == {"c"}
    status = cloudmap.get_instances_health_status(ServiceId=id)["Status"]
    assert status == {"a": "UNHEALTHY", "b": "UNHEALTHY", "c": "HEALTHY"}
    pages = [
        cloudmap.get_instances_health_status(ServiceId=id, MaxResults=2),
        cloudmap.get_instances_health_status(ServiceId=id, Instances=["c"]),
    ]
    assert list(pages[0]["Status"]) == ["a", "b"] and pages[0]["NextToken"]
    assert pages[1]["Status"] == {"c": "HEALTHY"}
    refused("InstanceNotFound", cloudmap.get_instances_health_status, ServiceId=id, Instances=["none"])
    shown = cloudmap.discover_instances(NamespaceName="space", ServiceName="web")["Instances"][0]
    assert shown["HealthStatus"] == "HEALTHY" and shown["Attributes"] == {"zone": "2"}
    assert (shown["NamespaceName"], shown["ServiceName"]) == ("space", "web")


def test_without_a_check_everything_is_found(cloudmap: Any) -> None:
    space = namespace(cloudmap, name="space")
    id = service(cloudmap, space)["Id"]
    register(cloudmap, id, "a", AWS_INIT_HEALTH_STATUS="UNHEALTHY")
    answer = cloudmap.discover_instances(NamespaceName="space", ServiceName="web", HealthStatus="UNHEALTHY")
    assert [i["HealthStatus"] for i in answer["Instances"]] == ["UNKNOWN"]
    refused(
        "CustomHealthNotFound",
        cloudmap.update_instance_custom_health_status,
        ServiceId=id,
        InstanceId="a",
        Status="HEALTHY",
    )
    refused("NamespaceNotFound", cloudmap.discover_instances, NamespaceName="none", ServiceName="web")
    refused("ServiceNotFound", cloudmap.discover_instances, NamespaceName="space", ServiceName="none")
    other = {"NamespaceName": "space", "ServiceName": "web", "OwnerAccount": "123456789012"}
    refused("NamespaceNotFound", cloudmap.discover_instances, **other)


def test_the_revision_tells_who_is_there_not_how_they_are(cloudmap: Any) -> None:
    space = namespace(cloudmap, name="space")
    id = service(cloudmap, space, HealthCheckCustomConfig={})["Id"]

    def revision() -> int:
        answer = cloudmap.discover_instances_revision(NamespaceName="space", ServiceName="web")
        found = cloudmap.discover_instances(NamespaceName="space", ServiceName="web")
        assert answer["InstancesRevision"] == found["InstancesRevision"]
        return int(answer["InstancesRevision"])

    seen = [revision()]
    register(cloudmap, id, "a", k="v")
    seen.append(revision())
    cloudmap.update_instance_custom_health_status(ServiceId=id, InstanceId="a", Status="UNHEALTHY")
    assert revision() == seen[-1]
    register(cloudmap, id, "a", k="w")
    seen.append(revision())
    cloudmap.deregister_instance(ServiceId=id, InstanceId="a")
    seen.append(revision())
    assert seen == sorted(set(seen))


def test_attributes_of_a_service(cloudmap: Any) -> None:
    id = service(cloudmap, namespace(cloudmap))["Id"]
    cloudmap.update_service_attributes(ServiceId=id, Attributes={"a": "1", "b": "2"})
    cloudmap.update_service_attributes(ServiceId=id, Attributes={"b": "3"})
    shown = cloudmap.get_service_attributes(ServiceId=id)["ServiceAttributes"]
    assert shown["Attributes"] == {"a": "1", "b": "3"} and shown["ServiceArn"].endswith(id)
    cloudmap.delete_service_attributes(ServiceId=id, Attributes=["a", "none"])
    shown = cloudmap.get_service_attributes(ServiceId=id)["ServiceAttributes"]
    assert shown["Attributes"] == {"b": "3"}
    many = {str(i): "v" for i in range(30)}
    code = "ServiceAttributesLimitExceededException"
    refused(code, cloudmap.update_service_attributes, ServiceId=id, Attributes=many)


def test_tags_of_namespaces_and_services(cloudmap: Any) -> None:
    space = cloudmap.get_namespace(Id=namespace(cloudmap))["Namespace"]
    made = service(cloudmap, space["Id"], Tags=[{"Key": "k", "Value": "v"}])
    for arn, old in ((space["Arn"], []), (made["Arn"], [{"Key": "k", "Value": "v"}])):
        assert cloudmap.list_tags_for_resource(ResourceARN=arn)["Tags"] == old
        cloudmap.tag_resource(ResourceARN=arn, Tags=[{"Key": "new", "Value": ""}])
        cloudmap.untag_resource(ResourceARN=arn, TagKeys=["k"])
        assert cloudmap.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "new", "Value": ""}]
        many = [{"Key": str(i), "Value": ""} for i in range(50)]
        refused("TooManyTagsException", cloudmap.tag_resource, ResourceARN=arn, Tags=many)
        refused("InvalidInput", cloudmap.tag_resource, ResourceARN=arn, Tags=[{"Key": "aws:k", "Value": ""}])
    gone = made["Arn"] + "0"
    refused("ResourceNotFoundException", cloudmap.list_tags_for_resource, ResourceARN=gone)


# -- tasks of ECS services ---------------------------------------------------------------------------------


def ecs_service(door: Door, registry: dict[str, Any], count: int = 2, **container: Any) -> Any:
    ecs = door.client("ecs")
    ecs.create_cluster(clusterName="c")
    ecs.register_task_definition(
        family="web",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[
            {"name": "main", "image": "busybox", "portMappings": [{"containerPort": 8080}], **container}
        ],
    )
    subnets = [s["SubnetId"] for s in door.client("ec2").describe_subnets()["Subnets"]]
    ecs.create_service(
        cluster="c",
        serviceName="shop",
        taskDefinition="web",
        desiredCount=count,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets}},
        serviceRegistries=[registry],
    )
    return ecs


def tasks(ecs: Any) -> dict[str, Any]:
    arns = ecs.list_tasks(cluster="c", serviceName="shop")["taskArns"]
    found = ecs.describe_tasks(cluster="c", tasks=arns)["tasks"] if arns else []
    return {task["taskArn"].rpartition("/")[2]: task for task in found}


def test_tasks_of_a_service_are_instances(door: Door, cloudmap: Any, vpc: str) -> None:
    made = service(cloudmap, namespace(cloudmap, vpc), DnsConfig=dns("SRV"), HealthCheckCustomConfig={})
    ecs = ecs_service(door, {"registryArn": made["Arn"], "port": 8080})

    def listed() -> dict[str, dict[str, str]]:
        found = cloudmap.list_instances(ServiceId=made["Id"])["Instances"]
        return {instance["Id"]: instance["Attributes"] for instance in found}

    found = eventually(lambda: listed() if len(listed()) == 2 else None, "two instances")
    running = tasks(ecs)
    assert set(found) == set(running)
    for id, attributes in found.items():
        details = running[id]["attachments"][0]["details"]
        assert attributes == {
            "AWS_INIT_HEALTH_STATUS": "HEALTHY",
            "AWS_INSTANCE_IPV4": next(d["value"] for d in details if d["name"] == "privateIPv4Address"),
            "AWS_INSTANCE_PORT": "8080",
            "AVAILABILITY_ZONE": running[id]["availabilityZone"],
            "REGION": "us-east-1",
            "ECS_CLUSTER_NAME": "c",
            "ECS_SERVICE_NAME": "shop",
            "ECS_TASK_DEFINITION_FAMILY": "web",
        }
    gone = next(iter(found))
    ecs.stop_task(cluster="c", task=gone)
    eventually(lambda: gone not in listed() and len(listed()) == 2, "another task in its place")
    ecs.update_service(cluster="c", service="shop", desiredCount=0)
    eventually(lambda: not listed(), "no instance is left")
    cloudmap.delete_service(Id=made["Id"])


def test_a_task_is_unhealthy_until_its_checks_say_otherwise(door: Door, cloudmap: Any, vpc: str) -> None:
    made = service(cloudmap, namespace(cloudmap, vpc), DnsConfig=dns("A"), HealthCheckCustomConfig={})
    check = {"command": ["CMD-SHELL", "true"], "interval": 5}
    ecs_service(door, {"registryArn": made["Arn"]}, 1, healthCheck=check)

    def status() -> list[str]:
        found = cloudmap.get_instances_health_status(ServiceId=made["Id"])["Status"]
        return list(found.values())

    eventually(lambda: status() == ["UNHEALTHY"], "it is registered as unhealthy")
    revision = cloudmap.discover_instances_revision(NamespaceName="corp.internal", ServiceName="web")

    def checked(tx: Any) -> None:
        for task in tx.find(TASK, "open", "yes"):
            tx.put(TASK, replace(task, health="HEALTHY"))

    door.call(door.daemon.house.store.write(checked))
    eventually(lambda: status() == ["HEALTHY"], "its checks count")
    again = cloudmap.discover_instances_revision(NamespaceName="corp.internal", ServiceName="web")
    assert revision["InstancesRevision"] == again["InstancesRevision"]
