"""Which conditions a rule may have, and how they are kept."""

from typing import Any

import pytest

from neargate.kit.errors import ApiError
from neargate.model.balancer_rules_conditions import made, old_values


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (
            {"Field": "path-pattern", "Values": ["/a/*"]},
            {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/a/*"]}},
        ),
        (
            {"Field": "host-header", "Values": ["*.example.com"]},
            {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.com"]}},
        ),
        (
            {"Field": "path-pattern", "RegexValues": ["^/v[0-9]+/"]},
            {"Field": "path-pattern", "PathPatternConfig": {"RegexValues": ["^/v[0-9]+/"]}},
        ),
        (
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "User-Agent", "Values": ["*x*"]}},
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "User-Agent", "Values": ["*x*"]}},
        ),
        (
            {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET", "CUSTOM-ONE"]}},
            {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET", "CUSTOM-ONE"]}},
        ),
        (
            {
                "Field": "query-string",
                "QueryStringConfig": {"Values": [{"Key": "v", "Value": "1"}, {"Value": "x"}]},
            },
            {
                "Field": "query-string",
                "QueryStringConfig": {"Values": [{"Key": "v", "Value": "1"}, {"Value": "x"}]},
            },
        ),
        (
            {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8", "2001:db8::/32"]}},
            {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8", "2001:db8::/32"]}},
        ),
    ],
)
def test_kept_in_the_fields_own_configuration(given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert made([given]) == (kept,)


def header(**config: Any) -> dict[str, Any]:
    return {"Field": "http-header", "HttpHeaderConfig": config}


def path(*values: str) -> dict[str, Any]:
    return {"Field": "path-pattern", "Values": list(values)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "A condition must be specified"),
        ([{}], "A condition field must be specified"),
        ([{"Field": "cookie"}], "Condition field 'cookie' must be one of"),
        ([{"Field": "path-pattern"}], "A condition value must be specified"),
        ([path("")], "A condition value must be specified"),
        ([path("/" + "a" * 128)], "The 'path-pattern' value is too long; the limit is '128'"),
        ([path("/a b")], "Condition value '/a b' contains a character that is not valid"),
        ([path("/é")], "contains a character that is not valid"),
        ([path("/a"), path("/b")], "A rule can only have one 'path-pattern' condition"),
        ([path(*"abcdef")], "A rule can only have '5' condition values"),
        ([path("/*/*/*/*"), {"Field": "host-header", "Values": ["*.?*.com"]}], "'6' condition wildcards"),
        ([{"Field": "host-header", "Values": ["localhost"]}], "must contain a '.'"),
        ([{"Field": "host-header", "Values": ["1.2.3.4"]}], "only alphabetical characters"),
        ([{"Field": "host-header", "Values": ["a/b.com"]}], "contains a character that is not valid"),
        ([{"Field": "source-ip", "Values": ["10.0.0.0/8"]}], "Values cannot be specified for the field"),
        ([{"Field": "path-pattern", "Values": ["/a"], "PathPatternConfig": {"Values": ["/b"]}}], "both"),
        ([{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/b"], "RegexValues": ["b"]}}], "both"),
        ([{"Field": "path-pattern", "HostHeaderConfig": {"Values": ["a.com"]}}], "HostHeaderConfig cannot"),
        ([{"Field": "path-pattern", "RegexValues": ["("]}], "not a valid regular expression"),
        ([{"Field": "path-pattern", "RegexValues": ["\udc80"]}], "not a valid regular expression"),
        ([header(Values=["a"])], "A HttpHeaderName must be specified"),
        ([header(HttpHeaderName="x" * 41, Values=["a"])], "the limit is '40'"),
        ([header(HttpHeaderName="a b", Values=["a"])], "contains a character that is not valid"),
        ([header(HttpHeaderName="Host", Values=["a"])], "HttpHeaderName cannot be 'host'"),
        ([header(HttpHeaderName="X", Values=["\n"])], "contains a character that is not valid"),
        ([{"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["get"]}}], "not valid"),
        ([{"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "v"}]}}], "value must be"),
        ([{"Field": "query-string", "QueryStringConfig": {"Values": []}}], "value must be specified"),
        ([{"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.1"]}}], "CIDR notation"),
        ([{"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.1/8"]}}], "CIDR notation"),
        ([{"Field": "source-ip", "SourceIpConfig": {"IpAddressType": "ipv4"}}], "IpAddressType cannot"),
    ],
)
def test_refused(given: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        made(given)
    assert caught.value.code == "ValidationError" and message in caught.value.message


def test_escaped_wildcards_are_none() -> None:
    values = [{"Value": r"\*\*\*\*\*\*\*"}]
    assert made([{"Field": "query-string", "QueryStringConfig": {"Values": values}}])


def test_the_oldest_fields_show_their_values_twice() -> None:
    (shown,) = made([path("/a")])
    assert old_values(shown) == ["/a"]
    (query,) = made([{"Field": "query-string", "QueryStringConfig": {"Values": [{"Value": "x"}]}}])
    assert old_values(query) == []
