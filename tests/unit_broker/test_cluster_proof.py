"""The proof of the shared secret: bound to role, nonces, cluster and nodes; never shown."""

from dataclasses import replace

import pytest
from automq_broker.cluster.proof import Greeting, Secret, is_same
from automq_broker.kernel.errors import Refused

GREETING = Greeting(cluster_id="cluster", caller_id=1, called_id=2, caller_nonce=b"a" * 32, called_nonce=b"b" * 32)
SECRET = Secret(b"sixteen bytes or more\n")


def test_both_sides_with_one_secret_agree_whatever_white_space_their_files_end_with():
    other = Secret(b"  sixteen bytes or more")
    assert is_same(SECRET.caller_proof(GREETING), other.caller_proof(GREETING))
    assert is_same(SECRET.called_proof(GREETING), other.called_proof(GREETING))


def test_another_secret_gives_another_proof():
    assert not is_same(SECRET.caller_proof(GREETING), Secret(b"sixteen bytes or less").caller_proof(GREETING))


@pytest.mark.parametrize(
    "change",
    [
        {"cluster_id": "other"},
        {"caller_id": 3},
        {"called_id": 3},
        {"caller_nonce": b"c" * 32},
        {"called_nonce": b"c" * 32},
        {"caller_nonce": b"b" * 32, "called_nonce": b"a" * 32},
        {"cluster_id": "cluste", "caller_id": 11},
    ],
)
def test_a_proof_is_good_for_one_greeting_only(change):
    assert not is_same(SECRET.caller_proof(GREETING), SECRET.caller_proof(replace(GREETING, **change)))


def test_one_sides_proof_is_not_the_others():
    assert not is_same(SECRET.caller_proof(GREETING), SECRET.called_proof(GREETING))


def test_a_secret_that_could_be_guessed_is_refused_without_being_shown():
    with pytest.raises(Refused) as refusal:
        Secret(b"hunter2")
    assert "hunter2" not in str(refusal.value)
    assert "sixteen" not in repr(SECRET)
