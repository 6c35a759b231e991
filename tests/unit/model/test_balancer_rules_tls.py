"""Security policies: the ciphers that AWS's pages name for the best known of them."""

import pytest

from neargate.model.balancer_rules_tls import DEFAULT, POLICIES


@pytest.mark.parametrize(
    ("name", "versions", "count", "within", "without"),
    [
        ("2016-08", ("TLSv1", "TLSv1.1", "TLSv1.2"), 18, "AES128-SHA", "TLS_AES_128_GCM_SHA256"),
        ("TLS13-1-2-2021-06", ("TLSv1.2", "TLSv1.3"), 11, "ECDHE-RSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA"),
        ("TLS13-1-3-2021-06", ("TLSv1.3",), 3, "TLS_AES_256_GCM_SHA384", "ECDHE-RSA-AES128-GCM-SHA256"),
        (
            "TLS13-1-2-Res-2021-06",
            ("TLSv1.2", "TLSv1.3"),
            7,
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-SHA256",
        ),
        ("FS-1-2-2019-08", ("TLSv1.2",), 12, "ECDHE-RSA-AES256-SHA", "AES256-SHA"),
        ("TLS13-1-2-Ext1-2021-06", ("TLSv1.2", "TLSv1.3"), 15, "AES256-SHA256", "AES256-SHA"),
    ],
)
def test_policies(name: str, versions: tuple[str, ...], count: int, within: str, without: str) -> None:
    policy = POLICIES[f"ELBSecurityPolicy-{name}"]
    assert policy.versions == versions and len(policy.ciphers) == count
    assert within in policy.ciphers and without not in policy.ciphers


def test_priorities_follow_the_order() -> None:
    shown = POLICIES[DEFAULT].shown()
    assert [cipher["Priority"] for cipher in shown["Ciphers"]] == list(range(1, 19))
    assert shown["Ciphers"][0]["Name"] == "ECDHE-ECDSA-AES128-GCM-SHA256"
