"""Delta xDS without Envoy: the order in which a change is told, and what a new conversation starts from."""

from envoy.service.discovery.v3 import discovery_pb2

from neargate.model import envoy
from neargate.model.balancer_rules_attributes import SCALE_TO_ZERO
from neargate.model.envoy import Translator
from neargate.node.balancer.publication import Conversation, Publication
from tests.support.envoy_rig import Rig, forward, group, listener, target

ONE, TWO = group("one"), group("two")
KINDS = {
    kind: kind.rpartition(".")[2] for kind in (envoy.CLUSTER, envoy.ENDPOINTS, envoy.LISTENER, envoy.ROUTES)
}


class Client:
    """As Envoy does it: subscribes to what it is told, acknowledges what it gets."""

    def __init__(self, publication: Publication, known: dict[str, dict[str, str]] | None = None) -> None:
        self.conversation = Conversation(publication)
        self.known: dict[str, dict[str, str]] = known or {}
        for kind in (envoy.CLUSTER, envoy.LISTENER):
            self._ask(kind)

    def _ask(self, kind: str, *names: str, nonce: str = "", refused: str = "") -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=kind, response_nonce=nonce)
        request.resource_names_subscribe.extend(names)
        if not nonce and not names:
            request.initial_resource_versions.update(self.known.get(kind, {}))
        if refused:
            request.error_detail.message = refused
        self.conversation.hear(request)

    def told(self, *, acknowledge: bool = True, refuse: str = "") -> list[tuple[str, list[str], list[str]]]:
        """(kind, names, removed) of all that is told now, in order."""
        found = []
        while response := self.conversation.next():
            names = sorted(resource.name for resource in response.resources)
            found.append((KINDS[response.type_url], names, sorted(response.removed_resources)))
            known = self.known.setdefault(response.type_url, {})
            known.update({resource.name: resource.version for resource in response.resources})
            for name in response.removed_resources:
                known.pop(name)
            if acknowledge:
                self._ask(response.type_url, nonce=response.nonce, refused=refuse)
            if response.type_url == envoy.CLUSTER and names:
                self._ask(envoy.ENDPOINTS, *names)
            if response.type_url == envoy.LISTENER and names:
                self._ask(envoy.ROUTES, *names)
        return found


def publication() -> tuple[Publication, Translator, Rig]:
    return Publication(), Translator(), Rig(directory=None)  # type: ignore[arg-type]


FRONT = "app/web/50dc6c495c0c9188/0000000000000050"
NAME_ONE, NAME_TWO = (it.arn.partition("/")[2] for it in (ONE, TWO))


def test_what_is_led_to_comes_before_what_leads_there() -> None:
    published, translator, rig = publication()
    client = Client(published)
    assert client.told() == []
    published.publish(translator.resources(rig.view([listener(forward((ONE, 1)))], [ONE], [target(ONE, 80)])))
    assert client.told() == [
        ("Cluster", [NAME_ONE], []),
        ("ClusterLoadAssignment", [NAME_ONE], []),
        ("Listener", [FRONT], []),
        ("RouteConfiguration", [FRONT], []),
    ]
    published.publish(translator.resources(rig.view([listener(forward((TWO, 1)))], [TWO], [target(TWO, 80)])))
    assert client.told() == [
        ("Cluster", [NAME_TWO], []),
        ("ClusterLoadAssignment", [NAME_TWO], []),
        ("RouteConfiguration", [FRONT], []),
        ("Cluster", [], [NAME_ONE]),
        ("ClusterLoadAssignment", [], [NAME_ONE]),
    ]


def test_requests_wait_before_the_last_endpoint_goes_and_until_the_first_has_come() -> None:
    published, translator, rig = publication()
    client = Client(published)
    zero = group("zero", attributes={SCALE_TO_ZERO: "true"})
    name = zero.arn.partition("/")[2]
    front = listener(forward((zero, 1)))
    awake = rig.view([front], [zero], [target(zero, 80)])
    published.publish(translator.resources(awake))
    client.told()
    asleep = rig.view([front], [zero], [target(zero, 80, "draining")])
    published.publish(translator.resources(asleep))
    assert client.told() == [("RouteConfiguration", [FRONT], []), ("ClusterLoadAssignment", [name], [])]
    published.publish(translator.resources(awake))
    assert client.told() == [("ClusterLoadAssignment", [name], []), ("RouteConfiguration", [FRONT], [])]
    published.publish(translator.resources(asleep))
    # Not before Envoy has answered about the routes.
    assert client.told(acknowledge=False) == [("RouteConfiguration", [FRONT], [])]


def test_a_target_costs_one_message() -> None:
    published, translator, rig = publication()
    client = Client(published)
    front = listener(forward((ONE, 1), (TWO, 1)))
    targets = [target(ONE, 80), target(TWO, 80)]
    published.publish(translator.resources(rig.view([front], [ONE, TWO], targets)))
    client.told()
    published.publish(translator.resources(rig.view([front], [ONE, TWO], [*targets, target(ONE, 81)])))
    assert client.told() == [("ClusterLoadAssignment", [NAME_ONE], [])]


def test_a_new_conversation_is_told_only_what_is_new() -> None:
    """As after a restart of the daemon."""
    published, translator, rig = publication()
    first = Client(published)
    view = rig.view([listener(forward((ONE, 1)))], [ONE], [target(ONE, 80)])
    published.publish(translator.resources(view))
    first.told()
    again, anew = Publication(), Translator()
    again.publish(anew.resources(view))
    second = Client(again, first.known)
    second._ask(envoy.ENDPOINTS)
    second._ask(envoy.ROUTES)
    assert second.told() == []
    other = rig.view([listener(forward((ONE, 1)))], [ONE], [target(ONE, 81)])
    again.publish(anew.resources(other))
    second._ask(envoy.ENDPOINTS, NAME_ONE)
    assert second.told() == [("ClusterLoadAssignment", [NAME_ONE], [])]


def test_nothing_more_is_told_before_an_answer() -> None:
    published, translator, rig = publication()
    client = Client(published)
    published.publish(translator.resources(rig.view([listener(forward((ONE, 1)))], [ONE])))
    assert [kind for kind, _, _ in client.told(acknowledge=False)] == ["Cluster", "ClusterLoadAssignment"]


def test_a_refusal_is_kept_and_the_rest_goes_on() -> None:
    published, translator, rig = publication()
    client = Client(published)
    published.publish(translator.resources(rig.view([listener(forward((ONE, 1)))], [ONE])))
    assert len(client.told(refuse="no such thing")) == 4
    assert set(published.refused) == {"no such thing"}
