"""Names of certificates as principals, by Kafka's rules."""

import pytest
from automq_broker.front.identity import ANONYMOUS, NoAuthentication, distinguished_name, principal_mapping
from automq_broker.kernel.errors import Refused


def test_a_distinguished_name_is_written_as_rfc_2253_has_it() -> None:
    certificate = {"subject": ((("countryName", "DE"),), (("organizationName", "A, B"),), (("commonName", " x#y "),))}
    assert distinguished_name(certificate) == "CN=\\ x#y\\ ,O=A\\, B,C=DE"


def test_a_name_of_several_parts_and_an_unknown_attribute() -> None:
    assert distinguished_name({"subject": ((("commonName", "a"), ("serialNumber", "7")),)}) == "CN=a+serialNumber=7"
    assert distinguished_name({}) == ""


@pytest.mark.parametrize(
    ("rules", "name", "principal"),
    [
        ("DEFAULT", "CN=a,O=b", "CN=a,O=b"),
        ("RULE:^CN=(.*?),O=.*$/$1/", "CN=Alice,O=b", "Alice"),
        ("RULE:^CN=(.*?),O=.*$/$1@b/L", "CN=Alice,O=b", "alice@b"),
        ("RULE:^CN=(.*?)$/$1/U, DEFAULT", "CN=Alice,O=b", "ALICE,O=B"),
        ("RULE:^CN=(\\w+)$/$1/,RULE:.*OU=(\\w+).*/$1/", "CN=a b,OU=team", "team"),
        ("RULE:^X$/y/", "CN=a", "CN=a"),
    ],
)
def test_the_first_rule_that_fits_maps(rules: str, name: str, principal: str) -> None:
    assert principal_mapping(rules)(name) == principal


@pytest.mark.parametrize("rules", ["RULE:only", "rule:a/b/", "RULE:(/x/", "DEFAULT,nonsense"])
def test_rules_that_cannot_be_read_are_refused_by_name(rules: str) -> None:
    with pytest.raises(Refused, match=r"ssl\.principal\.mapping\.rules"):
        principal_mapping(rules)


def test_without_a_certificate_a_peer_is_anonymous() -> None:
    assert NoAuthentication().principal(None) == ANONYMOUS
    assert NoAuthentication().principal("CN=a") == "User:CN=a"
