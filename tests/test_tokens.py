"""Call tokens: claims and rules, signatures, the key ring, revocation, and that nothing else ever comes out."""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import subprocess
import sys
from typing import Any

import attrs
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwk, jws

from statecore.errors import (
    AdapterMissing,
    BlankId,
    InvalidArgument,
    SpacedId,
    TokenError,
    TokenExpired,
    TokenForeign,
    TokenForged,
    TokenLacksGrant,
    TokenMalformed,
    TokenMissing,
    TokenNotYetValid,
    TokenRevoked,
)
from statecore.tokens import (
    GRANTS,
    ROLE_GRANTS,
    Claims,
    JwtSigner,
    Keys,
    RevocationList,
    Role,
    TokenSigner,
    check,
    check_time,
    issue,
    refreshed,
)

NOW = 1_800_000_000_000
SECRET = b"correct-horse-battery-staple-0123456789"
OTHER = b"another-secret-of-more-than-32-bytes-xx"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private(key: Any) -> bytes:
    """A private key as PEM."""
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def public(key: Any) -> bytes:
    """The public half of a private key as PEM."""
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def claims(**changes: Any) -> Claims:
    """Claims of bob for session s1, good for an hour."""
    wanted: dict[str, Any] = {"user": "bob", "session": "s1", "now": NOW, "lifetime": 3600.0, "token_id": "t1"}
    return issue(**{**wanted, **changes})


def signed(payload: bytes, *, secret: bytes = SECRET, **header: Any) -> str:
    """A token with any payload and header, signed by HS256."""
    header = {"alg": "HS256", "kid": "k1", **header}
    return jws.serialize_compact(header, payload, jwk.import_key(secret, "oct"), ["HS256"])


def glued(header: Any, payload: Any, signature: str = "") -> str:
    """A token with any header and payload and a made-up signature."""

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part(header)}.{part(payload)}.{signature}"


@pytest.fixture(scope="module")
def signer() -> JwtSigner:
    """A signer with one key."""
    return JwtSigner(Keys("k1", SECRET))


def use(given_: Claims, **changes: Any) -> None:
    """Check claims for what bob's token is good for, but for the changes."""
    wanted: dict[str, Any] = {"session": "s1", "user": "bob", "device": "phone", "now": NOW}
    check(given_, **{**wanted, **changes})


# --- issuing ----------------------------------------------------------------------------------------------------------


def test_issued_claims_say_what_was_asked() -> None:
    """Claims carry user, session, id, times in whole seconds, the role participant and its grants."""
    assert claims() == Claims(
        issuer="statecore",
        user="bob",
        session="s1",
        token_id="t1",
        issued_at=1_800_000_000,
        not_before=1_800_000_000,
        expires=1_800_003_600,
        role=Role.PARTICIPANT,
        grants=frozenset({"audio", "video", "screen"}),
        device=None,
    )


def test_a_token_never_lasts_shorter_than_asked() -> None:
    """Rounding to seconds begins early and ends late, never the other way round."""
    made = claims(now=NOW + 1, lifetime=0.5)
    assert made.not_before * 1000 <= NOW + 1
    assert made.until == made.expires * 1000 == NOW + 1000


def test_a_token_may_begin_later() -> None:
    """The lifetime counts from not_before, where that is given."""
    made = claims(not_before=NOW + 60_000, lifetime=10)
    assert (made.issued_at, made.not_before, made.expires) == (1_800_000_000, 1_800_000_060, 1_800_000_070)


def test_roles_grant_what_the_table_says() -> None:
    """A viewer may do nothing, a participant and a presenter send, a moderator and a host act on others."""
    assert set(ROLE_GRANTS) == set(Role)
    assert claims(role="viewer").grants == frozenset()
    assert claims(role=Role.PRESENTER).grants == claims().grants == {"audio", "video", "screen"}
    assert claims(role=Role.MODERATOR).grants >= {"audio", "moderate", "record", "end_for_all"}
    assert claims(role=Role.HOST).grants == GRANTS


def test_grants_may_be_named_instead() -> None:
    """Grants given by name replace the role's, and may be a custom flow's."""
    assert claims(role="viewer", grants=["audio", "whisper"]).grants == {"audio", "whisper"}
    assert claims(role="host", grants=iter(())).grants == frozenset()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"user": ""}, BlankId),
        ({"session": "  "}, BlankId),
        ({"token_id": None}, InvalidArgument),
        ({"user": 7}, InvalidArgument),
        ({"user": "bob smith"}, SpacedId),
        ({"user": "bob\ud800"}, SpacedId),
        ({"issuer": "x" * 129}, SpacedId),
        ({"device": ""}, BlankId),
        ({"role": "king"}, InvalidArgument),
        ({"grants": "audio"}, InvalidArgument),
        ({"grants": ["audio", ""]}, InvalidArgument),
        ({"grants": [1]}, InvalidArgument),
        ({"lifetime": 0}, InvalidArgument),
        ({"lifetime": -1.0}, InvalidArgument),
        ({"lifetime": float("nan")}, InvalidArgument),
        ({"lifetime": float("inf")}, InvalidArgument),
        ({"lifetime": "3600"}, InvalidArgument),
    ],
)
def test_what_cannot_be_claimed_is_refused(change: dict[str, Any], error: type[Exception]) -> None:
    """Blank and spaced ids, unknown roles, odd grants and lifetimes raise a typed error."""
    with pytest.raises(error):
        claims(**change)


def test_refreshing_keeps_who_and_what_and_moves_the_time() -> None:
    """A refreshed token differs in its id and its times only."""
    old = claims(role=Role.HOST, grants=["audio"], device="phone", issuer="app")
    new = refreshed(old, NOW + 1_800_000, 3600.0, "t2")
    assert new == msgspec.structs.replace(
        old, token_id="t2", issued_at=1_800_001_800, not_before=1_800_001_800, expires=1_800_005_400
    )


def test_only_a_good_token_is_refreshed() -> None:
    """An expired token, or one whose time has not come, cannot be made good by refreshing it."""
    with pytest.raises(TokenExpired):
        refreshed(claims(), NOW + 3_600_000, 3600.0, "t2")
    with pytest.raises(TokenNotYetValid):
        refreshed(claims(not_before=NOW + 1000), NOW, 3600.0, "t2")


# --- the rules --------------------------------------------------------------------------------------------------------


def test_a_token_is_good_for_what_it_says() -> None:
    """The right user in the right session passes, from any device, with any of the grants."""
    use(claims())
    use(claims(), device=None, grant="video")
    use(claims(device="phone"))


@pytest.mark.parametrize(
    ("bound", "change", "what"),
    [
        (None, {"session": "s2"}, "session"),
        (None, {"user": "eve"}, "user"),
        ("phone", {"device": "laptop"}, "device"),
        ("phone", {"device": None}, "device"),
    ],
)
def test_a_replayed_token_is_foreign(bound: str | None, change: dict[str, Any], what: str) -> None:
    """Another session, another user, or another device than the bound one is refused by name."""
    with pytest.raises(TokenForeign) as caught:
        use(claims(device=bound), **change)
    assert caught.value.what == what


def test_a_grant_must_be_held() -> None:
    """An action that the token does not grant is refused by name."""
    with pytest.raises(TokenLacksGrant) as caught:
        use(claims(), grant="end_for_all")
    assert caught.value.grant == "end_for_all"
    use(claims(role="moderator"), grant="end_for_all")


def test_a_token_expires_exactly_at_its_limit() -> None:
    """The last millisecond before `expires` is good, the next one is not."""
    made = claims()
    use(made, now=made.until - 1)
    with pytest.raises(TokenExpired) as caught:
        use(made, now=made.until)
    assert caught.value.seconds == 0
    with pytest.raises(TokenExpired) as caught:
        use(made, now=made.until + 1_500)
    assert caught.value.seconds == 1


def test_a_token_begins_exactly_at_its_limit() -> None:
    """The millisecond before `not_before` is too early, and the error rounds the wait up to whole seconds."""
    made = claims(not_before=NOW + 5_000)
    use(made, now=NOW + 5_000)
    with pytest.raises(TokenNotYetValid) as caught:
        use(made, now=NOW + 4_999)
    assert caught.value.seconds == 1


def test_leeway_moves_both_limits() -> None:
    """Clocks may differ by the leeway, to the millisecond, at both ends."""
    made = claims()
    check_time(made, NOW - 1_000, leeway=1.0)
    check_time(made, made.until + 999, leeway=1.0)
    with pytest.raises(TokenNotYetValid):
        check_time(made, NOW - 1_001, leeway=1.0)
    with pytest.raises(TokenExpired):
        use(made, now=made.until + 1_000, leeway=1.0)


# --- signing and verifying --------------------------------------------------------------------------------------------


def test_what_was_signed_is_verified(signer: TokenSigner) -> None:
    """A signed token gives back the very claims, and equal claims make equal tokens."""
    made = claims(device="phone", role=Role.HOST)
    token = signer.sign(made)
    assert signer.verify(token, NOW) == made
    assert signer.sign(claims(device="phone", role=Role.HOST)) == token


IDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=128)


@settings(deadline=None)  # a shared machine is slow at times
@given(
    user=IDS, session=IDS, role=st.sampled_from(Role), device=st.none() | IDS, grants=st.sets(IDS, max_size=5),
    lifetime=st.floats(0.001, 1e6),
)  # fmt: skip
def test_any_claims_survive_the_journey(signer: JwtSigner, **made: Any) -> None:
    """Whatever can be issued is signed and verified unchanged."""
    wanted = claims(**made)
    assert signer.verify(signer.sign(wanted), NOW) == wanted


def test_the_token_is_a_json_web_token_that_others_read(signer: JwtSigner) -> None:
    """Header and claims have the registered names of RFC 7519."""
    header, payload, _ = signer.sign(claims()).split(".")
    read = [json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in (header, payload)]
    assert read[0] == {"alg": "HS256", "kid": "k1", "typ": "JWT"}
    assert read[1] | {"iss": "statecore", "sub": "bob", "sid": "s1", "jti": "t1", "exp": 1_800_003_600} == read[1]


@pytest.mark.parametrize(
    ("algorithm", "secret", "kind"), [("HS256", SECRET, "oct"), ("RS256", private(RSA_KEY), "RSA")]
)
def test_a_token_is_what_the_library_would_make_of_it(algorithm: Any, secret: bytes, kind: Any) -> None:
    """Header, claims and signature are put together as joserfc does it, byte by byte, whatever the key is called."""
    for kid in ("k1", 'caf\u00e9 "1"'):
        token = JwtSigner(Keys(kid, secret, algorithm=algorithm)).sign(claims())
        header, key = {"alg": algorithm, "kid": kid, "typ": "JWT"}, jwk.import_key(secret, kind)
        opened = jws.deserialize_compact(token, key, [algorithm])
        assert opened.headers() == header
        assert token.count("=") == 0
        if kid.isascii():  # joserfc escapes what is not
            assert token == jws.serialize_compact(header, opened.payload, key, [algorithm])


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_token_is_missing(signer: JwtSigner, nothing: Any) -> None:
    """None and an empty text are told apart from a bad token."""
    with pytest.raises(TokenMissing):
        signer.verify(nothing, NOW)


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b",
        "a.b.c.d",
        "a.b.c",
        "....",
        ".." + "x" * 9_000,
        "€.€.€",
        "\ud800..",
        7,
        b"a.b.c",
        glued([], {}),
        glued("alg", {}),
        glued({"alg": "HS256"}, {}),
        glued({"kid": "k1"}, {}),
        glued({"alg": ["HS256"], "kid": "k1"}, {}),
        glued({"alg": "HS256", "kid": None}, {}),
        glued({"alg": "HS256", "kid": "k1", "b64": False, "crit": ["b64"]}, {}),
        glued({"alg": "HS256", "kid": "k1", "jku": "https://example.org/keys"}, {}),
        glued({"alg": "HS256", "kid": "k1", "typ": "JOSE"}, {}),
    ],
)
def test_what_is_no_token_is_malformed(signer: JwtSigner, token: Any) -> None:
    """Texts of another shape, or with a header that is not a call token's, are malformed."""
    with pytest.raises(TokenMalformed):
        signer.verify(token, NOW)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"iss":"statecore","sub":"bob","sid":"s1","jti":"t1","iat":1,"nbf":1}',
        b'{"iss":"statecore","sub":"bob","sid":"s1","jti":"t1","iat":1,"nbf":1,"exp":"2"}',
        b'{"iss":"statecore","sub":"bob","sid":"s1","jti":"t1","iat":1,"nbf":1,"exp":NaN}',
        b'{"iss":"statecore","sub":7,"sid":"s1","jti":"t1","iat":1,"nbf":1,"exp":2}',
        b'{"iss":"statecore","sub":"bob","sid":"s1","jti":"t1","iat":1,"nbf":1,"exp":2,"role":"king"}',
        b'{"iss":"statecore","sub":"b\xff","sid":"s1","jti":"t1","iat":1,"nbf":1,"exp":2}',
    ],
)
def test_signed_claims_of_a_wrong_shape_are_refused(signer: JwtSigner, payload: bytes) -> None:
    """Even with a good signature a token lacks nothing, and every claim has its type."""
    with pytest.raises(TokenError) as caught:
        signer.verify(signed(payload), NOW)
    assert isinstance(caught.value, TokenMalformed | TokenForged)


def test_unknown_claims_are_passed_over(signer: JwtSigner) -> None:
    """A claim that this version does not know does no harm."""
    made = claims()
    payload = json.dumps({**json.loads(msgspec.json.encode(made)), "email": "bob@example.org"}).encode()
    assert signer.verify(signed(payload), NOW) == made


@pytest.mark.parametrize("algorithm", ["none", "None", "HS512", "RS256", ""])
@pytest.mark.parametrize("signature", ["", "AAAA"])
def test_another_algorithm_is_refused(signer: JwtSigner, algorithm: str, signature: str) -> None:
    """No token chooses its algorithm: none, and any but the key's own, are forgeries."""
    payload = json.loads(msgspec.json.encode(claims()))
    with pytest.raises(TokenForged):
        signer.verify(glued({"alg": algorithm, "kid": "k1"}, payload, signature), NOW)


def test_another_key_is_refused(signer: JwtSigner) -> None:
    """A signature by another secret, or under a key id that is not on the ring, is a forgery."""
    payload = msgspec.json.encode(claims())
    assert signer.verify(signed(payload), NOW) == claims()
    with pytest.raises(TokenForged):
        signer.verify(signed(payload, secret=OTHER), NOW)
    with pytest.raises(TokenForged):
        signer.verify(signed(payload, kid="k2"), NOW)


@settings(deadline=None)  # a shared machine is slow at times
@given(st.data())
def test_a_tampered_token_is_refused(signer: JwtSigner, data: st.DataObject) -> None:
    """Changing any one character of a token makes it a forgery or no token at all."""
    token = signer.sign(claims())
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda character: character != token[at]))
    with pytest.raises(TokenError) as caught:
        signer.verify(token[:at] + other + token[at + 1 :], NOW)
    assert isinstance(caught.value, TokenForged | TokenMalformed)


@settings(deadline=None)  # a shared machine is slow at times
@given(st.lists(st.sampled_from(["", "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIn0", "e30"]) | st.text(), max_size=4))
def test_any_text_is_refused_with_a_token_error(signer: JwtSigner, parts: list[str]) -> None:
    """No text makes verifying fail in any other way than by a TokenError."""
    with pytest.raises(TokenError):
        signer.verify(".".join(parts), NOW)


@settings(deadline=None)  # a shared machine is slow at times
@given(st.binary(max_size=200))
def test_any_signed_bytes_are_refused_with_a_token_error(signer: JwtSigner, payload: bytes) -> None:
    """Not even a payload with a good signature makes verifying fail in any other way."""
    with pytest.raises(TokenError):
        signer.verify(signed(payload), NOW)


def test_the_issuer_must_be_this_one(signer: JwtSigner) -> None:
    """A token of another issuer is foreign, though the key be shared, and none is signed in another's name."""
    theirs = JwtSigner(Keys("k1", SECRET), "elsewhere")
    token = theirs.sign(claims(issuer="elsewhere"))
    with pytest.raises(TokenForeign) as caught:
        signer.verify(token, NOW)
    assert caught.value.what == "issuer"
    with pytest.raises(TokenForeign):
        signer.sign(claims(issuer="elsewhere"))


def test_verifying_keeps_the_time(signer: JwtSigner) -> None:
    """A genuine token is refused before and after its time, to the millisecond, but for the leeway."""
    made = claims()
    token = signer.sign(made)
    assert signer.verify(token, made.until - 1) == made
    with pytest.raises(TokenExpired):
        signer.verify(token, made.until)
    with pytest.raises(TokenNotYetValid):
        signer.verify(token, NOW - 1)
    assert JwtSigner(Keys("k1", SECRET), leeway=2).verify(token, made.until + 1_999) == made


def test_a_leeway_is_an_hour_at_most() -> None:
    """What concerns a token is forgotten an hour after its time, so that none may be taken longer."""
    assert JwtSigner(Keys("k1", SECRET), leeway=3_600).leeway == 3_600
    for wrong in (-1.0, 3_601.0, float("nan")):
        with pytest.raises(InvalidArgument, match="leeway"):
            JwtSigner(Keys("k1", SECRET), leeway=wrong)


# --- keys -------------------------------------------------------------------------------------------------------------


def test_rotation_signs_anew_and_verifies_the_old() -> None:
    """After a rotation new tokens name the new key, and old tokens stay good until their key is retired."""
    first = Keys("k1", SECRET)
    both = first.rotate("k2", OTHER)
    assert (both.current, both.kids) == ("k2", ("k1", "k2"))
    assert first.kids == ("k1",)
    old = JwtSigner(first).sign(claims())
    new = JwtSigner(both).sign(claims())
    assert JwtSigner(both).verify(old, NOW) == JwtSigner(both).verify(new, NOW) == claims()
    with pytest.raises(TokenForged):
        JwtSigner(first).verify(new, NOW)
    only = JwtSigner(both.retire("k1").retire("k1"))
    assert only.verify(new, NOW) == claims()
    with pytest.raises(TokenForged):
        only.verify(old, NOW)


def test_a_ring_keeps_its_rules() -> None:
    """A key id is used once, and the current key cannot be retired."""
    keys = Keys("k1", SECRET)
    with pytest.raises(InvalidArgument):
        keys.rotate("k1", OTHER)
    with pytest.raises(InvalidArgument):
        keys.retire("k1")


@pytest.mark.parametrize(
    ("kid", "secret", "algorithm"),
    [
        ("", SECRET, "HS256"),
        (7, SECRET, "HS256"),
        ("k" * 129, SECRET, "HS256"),
        ("k1", b"short", "HS256"),
        ("k1", SECRET.decode(), "HS256"),
        ("k1", SECRET, "none"),
        ("k1", SECRET, "RS256"),
        ("k1", public(RSA_KEY), "HS256"),
        ("k1", b"\n" + private(RSA_KEY), "HS256"),
    ],
)
def test_what_cannot_be_a_key_is_refused(kid: Any, secret: Any, algorithm: Any) -> None:
    """Short secrets, a PEM as a shared secret, unknown algorithms and odd ids are refused, and not shown."""
    with pytest.raises(InvalidArgument) as caught:
        Keys(kid, secret, algorithm=algorithm)
    assert str(secret) not in str(caught.value) + repr(caught.value.data)


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", RSA_KEY),
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("Ed25519", ed25519.Ed25519PrivateKey.generate()),
    ],
)
def test_public_keys_verify_what_private_keys_sign(algorithm: Any, key: Any) -> None:
    """With a private key one service signs, and nodes that hold the public one verify, but cannot sign."""
    token = JwtSigner(Keys("k1", private(key), algorithm=algorithm)).sign(claims())
    node = JwtSigner(Keys("k1", public(key), algorithm=algorithm))
    assert node.verify(token, NOW) == claims()
    with pytest.raises(InvalidArgument):
        node.sign(claims())


def test_a_public_key_is_never_taken_for_a_shared_secret() -> None:
    """A token signed by HS256 with the public RSA key as its secret is a forgery."""
    node = JwtSigner(Keys("k1", public(RSA_KEY), algorithm="RS256"))
    signed_part = glued({"alg": "HS256", "kid": "k1"}, json.loads(msgspec.json.encode(claims()))).removesuffix(".")
    digest = hmac.digest(public(RSA_KEY), signed_part.encode(), "sha256")
    forged = f"{signed_part}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
    with pytest.raises(TokenForged):
        node.verify(forged, NOW)


@pytest.mark.parametrize(
    ("algorithm", "secret"),
    [
        ("RS256", private(ed25519.Ed25519PrivateKey.generate())),
        ("ES256", private(ec.generate_private_key(ec.SECP384R1()))),
        ("Ed25519", private(x25519.X25519PrivateKey.generate())),
        ("RS256", b"-----BEGIN NONSENSE-----"),
    ],
)
def test_a_key_of_another_kind_is_refused_by_the_signer(algorithm: Any, secret: bytes) -> None:
    """A PEM that is no key, or a key for another algorithm, is refused when the signer is made."""
    keys = Keys("k1", secret, algorithm=algorithm)
    with pytest.raises(InvalidArgument) as caught:
        JwtSigner(keys)
    assert caught.value.__cause__ is None


# --- revoking ---------------------------------------------------------------------------------------------------------


def test_a_revoked_token_is_refused() -> None:
    """A signer with a revocation list refuses what stands on it, and nothing else."""
    revoked = RevocationList()
    signer = JwtSigner(Keys("k1", SECRET), revocation=revoked)
    token, other = signer.sign(claims()), signer.sign(claims(token_id="t2"))
    assert signer.verify(token, NOW) == claims()
    revoked.revoke("t1", claims().until)
    with pytest.raises(TokenRevoked):
        signer.verify(token, NOW)
    assert signer.verify(other, NOW).token_id == "t2"


def test_a_revocation_is_kept_as_long_as_its_token_lives() -> None:
    """A revocation is forgotten when its token has expired, not a millisecond earlier; the longest time counts."""
    revoked = RevocationList()
    until = claims().until
    revoked.revoke("t1", until)
    revoked.revoke("t1", until - 5_000)
    assert revoked.expire(until - 1) == 0
    assert revoked.expire(until + 1_999, leeway=2) == 0
    assert revoked.revoked(claims())
    assert revoked.expire(until) == 1
    revoked.revoke("t1", until)
    assert revoked.expire(until + 2_000, leeway=2) == 1
    assert len(revoked) == 0
    assert not revoked.revoked(claims())


# --- secrets, imports -------------------------------------------------------------------------------------------------


def test_no_secret_and_no_token_ever_shows(signer: JwtSigner) -> None:
    """Neither a repr nor an error with all its causes shows a key's secret or a token."""
    keys = Keys("k1", SECRET).rotate("k2", OTHER)
    shown = repr(keys) + repr(list(keys)) + repr(JwtSigner(keys))
    token = signer.sign(claims())
    for bad in (token[:-2] + "AA", token + ".x", "x" + token, token.replace(".", ".e30", 1)):
        with pytest.raises(TokenError) as caught:
            signer.verify(bad, NOW)
        error = caught.value
        shown += str(error) + repr(error) + repr(error.data) + repr(error.__cause__)
        assert error.__suppress_context__ or error.__context__ is None
    assert "correct-horse" not in shown
    assert "another-secret" not in shown
    assert not any(part in shown for part in token.split("."))


def test_claims_and_keys_are_frozen() -> None:
    """Neither claims nor the keys of a ring can be changed."""
    with pytest.raises(AttributeError):
        claims().user = "eve"  # type: ignore[misc]
    (key,) = Keys("k1", SECRET)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        key.secret = OTHER  # type: ignore[misc]


def test_without_joserfc_the_signer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library is missing, making a signer raises AdapterMissing with the command that mends it."""
    monkeypatch.setitem(sys.modules, "joserfc", None)
    with pytest.raises(AdapterMissing, match=r"pip install 'statecore\[tokens\]'"):
        JwtSigner(Keys("k1", SECRET))


def test_importing_tokens_imports_no_cryptography() -> None:
    """The rules cost no heavy import: joserfc comes with the first signer."""
    program = (
        "import sys, statecore.tokens as t; early = {'joserfc', 'cryptography', 'asyncio'} & set(sys.modules);"
        "t.JwtSigner(t.Keys('k', b'x' * 32)); print(sorted(early), 'joserfc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[] True", done.stderr


@settings(deadline=None)  # a shared machine is slow at times
@given(st.binary(min_size=30), st.sampled_from(["HS256", "ES256", "RS256", "Ed25519"]))
def test_any_bytes_become_a_key_or_a_typed_error(secret: bytes, algorithm: Any) -> None:
    """Whatever is given for a key makes a signer that works, or raises InvalidArgument and nothing else."""
    pem = secret if algorithm == "HS256" else b"-----BEGIN PRIVATE KEY-----\n" + secret
    with contextlib.suppress(InvalidArgument):
        signer = JwtSigner(Keys("k1", pem, algorithm=algorithm))
        assert signer.verify(signer.sign(claims()), NOW) == claims()


def test_a_token_that_is_known_says_what_a_stranger_reads() -> None:
    """The signer that made a token, one that has seen it, and one that has not, all read the same; its time and its
    revocation are looked at each time."""
    revocation = RevocationList()
    signer, stranger = (JwtSigner(Keys("1", SECRET), revocation=revocation) for _ in range(2))
    claims = issue(user="alice", session="s", now=NOW, lifetime=60, token_id="1", grants={"audio"}, device="d")
    token = signer.sign(claims)
    assert signer.verify(token, NOW) == stranger.verify(token, NOW) == stranger.verify(token, NOW) == claims
    for each in (signer, stranger):
        with pytest.raises(TokenExpired):
            each.verify(token, NOW + 60_000)
    revocation.revoke("1", claims.until)
    for each in (signer, stranger):
        with pytest.raises(TokenRevoked):
            each.verify(token, NOW)


def test_a_signer_remembers_so_many_tokens_only() -> None:
    """However many tokens are made and verified, what is kept of them is bounded, and each stays good."""
    signer = JwtSigner(Keys("1", SECRET))
    made = [signer.sign(issue(user="u", session=f"s{n}", now=NOW, lifetime=60, token_id=f"{n}")) for n in range(5_000)]
    assert len(signer._genuine) <= 4_096
    assert [signer.verify(token, NOW).session for token in made[::500]] == [f"s{n}" for n in range(0, 5_000, 500)]
