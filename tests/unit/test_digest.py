"""HTTP Digest as GA/T 1400 devices speak it."""

import pytest

from traffic.ingest.digest import (
    NONCE_S,
    Credentials,
    DigestRefused,
    challenge,
    expected_response,
    make_nonce,
    nonce_age_s,
    parse,
    verify,
)
from traffic.secrets import REALM, SecretUnreadable, decrypt, encrypt, ha1

KEY, AT_S, PATH = b"k" * 32, 1_795_507_200, "/VIID/System/Register"
NONCE = make_nonce(KEY, at_s=AT_S, salt=b"saltsalt")
HA1 = ha1("22010000001190000001", REALM, "secret")


def credentials(**fields: str) -> Credentials:
    values = {
        "username": "22010000001190000001", "realm": REALM, "nonce": NONCE, "uri": PATH, "response": "",
        "qop": "auth", "count": "00000001", "cnonce": "abc", **fields,
    }  # fmt: skip
    found = Credentials(**values)
    return (
        found
        if fields.get("response")
        else Credentials(**{**values, "response": expected_response(found, HA1, "POST")})
    )


def check(found: Credentials, *, at_s: int = AT_S, path: str = PATH) -> None:
    verify(found, ha1=HA1, method="POST", path=path, key=KEY, at_s=at_s)


def test_the_example_of_rfc_2617_gives_its_response():
    found = Credentials(
        username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
        uri="/dir/index.html", response="", qop="auth", count="00000001", cnonce="0a4f113b",
    )  # fmt: skip
    key = ha1("Mufasa", "testrealm@host.com", "Circle Of Life")
    assert expected_response(found, key, "GET") == "6629fae49393a05397450978507c4ef1"


def test_a_header_is_taken_apart_as_devices_write_it():
    header = (
        f'Digest username="u\\"1", realm="{REALM}",nonce="n", uri="{PATH}", qop=auth ,  algorithm="MD5",'
        'response="ABCDEF", nc=0000000A, cnonce="123456789", opaque=""'
    )
    found = parse(header)
    assert (found.username, found.count, found.response, found.qop) == ('u"1', "0000000A", "abcdef", "auth")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic dTpw",
        "Digest",
        "Digest username",
        'Digest username="u"',
        'Digest username="u", username="v", realm="r", nonce="n", uri="/", response="x"',
        'Digest username="u", realm="r", nonce="n", uri="/", response="x", algorithm=SHA-256',
        'Digest username="u", realm="r", nonce="n", uri="/", response="x", qop="auth-int", nc=00000001, cnonce="c"',
        'Digest username="u", realm="r", nonce="n", uri="/", response="x", qop=auth, nc=1, cnonce="c"',
        'Digest username="u", realm="r", nonce="n", uri="/", response="x", qop=auth, nc=00000001',
        'Digest username="' + "u" * 5000 + '"',
    ],
)
def test_a_header_that_is_no_answer_is_refused(header):
    with pytest.raises(DigestRefused):
        parse(header)


def test_a_right_answer_passes_with_and_without_qop():
    check(credentials())
    check(credentials(qop="", count="", cnonce=""))
    check(credentials(uri=PATH + "?x=1"))
    check(credentials(uri="http://192.0.2.1:8602" + PATH))


@pytest.mark.parametrize(
    "fields",
    [
        {"response": "0" * 32},
        {"response": "\u00e9"},
        {"realm": "other"},
        {"uri": "/VIID/System/UnRegister"},
        {"uri": "http://[broken"},
        {"nonce": "x"},
        {"nonce": "\u00e9\u00e9"},
        {"nonce": make_nonce(b"other key", at_s=AT_S, salt=b"saltsalt")},
        {"nonce": make_nonce(KEY, at_s=AT_S + 60, salt=b"saltsalt")},
    ],
)
def test_a_wrong_answer_is_refused(fields):
    with pytest.raises(DigestRefused):
        check(credentials(**fields))


def test_a_right_answer_to_an_old_challenge_is_only_stale():
    check(credentials(), at_s=AT_S + NONCE_S)
    with pytest.raises(DigestRefused) as caught:
        check(credentials(), at_s=AT_S + NONCE_S + 1)
    assert caught.value.stale
    with pytest.raises(DigestRefused) as caught:
        check(credentials(response="0" * 32), at_s=AT_S + NONCE_S + 1)
    assert not caught.value.stale
    assert "stale=true" in challenge(NONCE, stale=True)


def test_a_nonce_that_was_changed_is_not_ours():
    assert nonce_age_s(KEY, NONCE, at_s=AT_S + 7) == 7
    with pytest.raises(DigestRefused):
        nonce_age_s(KEY, ("A" if NONCE[5] != "A" else "B").join((NONCE[:5], NONCE[6:])), at_s=AT_S)


def test_a_secret_is_read_back_only_with_the_same_key():
    sealed = encrypt("key", b"secret")
    assert b"secret" not in sealed
    assert sealed != encrypt("key", b"secret")
    assert decrypt("key", sealed) == b"secret"
    for key, data in (("other", sealed), ("key", sealed[:-1]), ("key", b""), ("key", b"\2" + sealed[1:])):
        with pytest.raises(SecretUnreadable):
            decrypt(key, data)
