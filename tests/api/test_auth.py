"""Which tokens hold, and which attacks on them do not."""

import base64
import hashlib
import hmac
import json
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from muster.api import auth
from muster.api.auth import BearerTokens, issue_token, signing_secret
from muster.api.jwks import ProviderKeys
from muster.errors import StartError, Unauthenticated, Unavailable
from muster.settings import Settings

SECRET = "the secret of these tests, thirty-two bytes and more"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def settings_with(**values: Any) -> Settings:
    return Settings.model_validate({"auth_secret": SecretStr(SECRET), **values})


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {"sub": "ada", "iss": "muster", "aud": "muster", "iat": now, "exp": now + 60, **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def signed(header: dict[str, Any], payload: dict[str, Any], secret: bytes = SECRET.encode()) -> str:
    """A token made by hand, with whatever header: libraries refuse to make bad ones."""

    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    signing = part(json.dumps(header).encode()) + b"." + part(json.dumps(payload).encode())
    return (signing + b"." + part(hmac.new(secret, signing, hashlib.sha256).digest())).decode()


async def test_a_token_that_we_issue_names_its_owner() -> None:
    settings = settings_with()
    assert await BearerTokens(settings).owner(issue_token(settings, "ada", 60)) == "ada"


BAD_TOKENS: dict[str, Callable[[], str]] = {
    "nothing of a token": lambda: "x",
    "three empty parts": lambda: "..",
    "no signature": lambda: signed({"alg": "HS256"}, claims()).rpartition(".")[0] + ".",
    "another secret": lambda: signed({"alg": "HS256"}, claims(), b"x" * 40),
    "alg none": lambda: jwt.encode(claims(), None, algorithm="none"),
    "alg None, spelt otherwise": lambda: signed({"alg": "nOnE"}, claims()),
    "no alg": lambda: signed({"typ": "JWT"}, claims()),
    "alg that is no string": lambda: signed({"alg": ["HS256"]}, claims()),
    "HS512 with our secret": lambda: jwt.encode(claims(), SECRET * 2, algorithm="HS512"),
    "RS256 without any provider": lambda: jwt.encode(claims(), RSA_KEY, algorithm="RS256"),
    "a critical header that we do not know": lambda: signed({"alg": "HS256", "crit": ["x"], "x": 1}, claims()),
    "an empty critical header": lambda: signed({"alg": "HS256", "crit": []}, claims()),
    "expired": lambda: signed({"alg": "HS256"}, claims(exp=int(time.time()) - 1)),
    "no expiry": lambda: signed({"alg": "HS256"}, claims(exp=...)),
    "an expiry that is no number": lambda: signed({"alg": "HS256"}, claims(exp="soon")),
    "an infinite expiry": lambda: signed({"alg": "HS256"}, claims(exp=float("inf"))),
    "not valid yet": lambda: signed({"alg": "HS256"}, claims(nbf=int(time.time()) + 60)),
    "no issuer": lambda: signed({"alg": "HS256"}, claims(iss=...)),
    "another issuer": lambda: signed({"alg": "HS256"}, claims(iss="mustard")),
    "no audience": lambda: signed({"alg": "HS256"}, claims(aud=...)),
    "another audience": lambda: signed({"alg": "HS256"}, claims(aud=["mustard"])),
    "no subject": lambda: signed({"alg": "HS256"}, claims(sub=...)),
    "an empty subject": lambda: signed({"alg": "HS256"}, claims(sub="")),
    "a subject that is no string": lambda: signed({"alg": "HS256"}, claims(sub={"$ne": None})),
    "a subject with a control character": lambda: signed({"alg": "HS256"}, claims(sub="ada\0")),
    "a subject without end": lambda: signed({"alg": "HS256"}, claims(sub="a" * 201)),
    "claims that nest too deeply": lambda: "e30." + base64.urlsafe_b64encode(b"[" * 9000).decode() + ".x",
    "a token of odd characters": lambda: "\udcff.\udcff.\udcff",
}


@pytest.mark.parametrize("make", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
async def test_a_bad_token_is_refused(make: Callable[[], str]) -> None:
    with pytest.raises(Unauthenticated):
        await BearerTokens(settings_with()).owner(make())


class Provider:
    """An identity provider whose keys can rotate and whose server can fail."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"one": RSA_KEY, "two": EC_KEY}
        self.requests = 0
        self.broken = False

    def transport(self) -> httpx.MockTransport:
        def answer(_: httpx.Request) -> httpx.Response:
            self.requests += 1
            if self.broken:
                return httpx.Response(500)
            listed = []
            for key_id, key in self.keys.items():
                kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
                listed.append({**kind.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig"})
            oct_key = {"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(b"k" * 32).decode(), "alg": "HS256"}
            return httpx.Response(200, json={"keys": [*listed, oct_key, {"kty": "new", "kid": "unknown kind"}]})

        return httpx.MockTransport(answer)

    def tokens(self, **settings: Any) -> BearerTokens:
        whole = settings_with(auth_jwks_url="https://provider.test/keys", **{"auth_secret": None, **settings})
        return BearerTokens(whole, ProviderKeys("https://provider.test/keys", self.transport()))


async def test_the_keys_of_a_provider_check_its_tokens() -> None:
    tokens = Provider().tokens()
    for key_id, key, algorithm in (("one", RSA_KEY, "RS256"), ("two", EC_KEY, "ES256")):
        token = jwt.encode(claims(), key, algorithm=algorithm, headers={"kid": key_id})
        assert await tokens.owner(token) == "ada"


async def test_a_public_key_is_no_secret() -> None:
    """The oldest attack: sign with HS256, under the provider's public key."""
    public = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    tokens = Provider().tokens(auth_secret=SecretStr(SECRET))
    with pytest.raises(Unauthenticated):
        await tokens.owner(signed({"alg": "HS256", "kid": "one"}, claims(), public))


@pytest.mark.parametrize(
    ("header", "key", "algorithm"),
    [
        ({"kid": "two"}, RSA_KEY, "RS256"),  # the id of a key of another kind
        ({"kid": "one"}, RSA_KEY, "PS256"),  # not the algorithm of the key
        ({"kid": "one"}, OTHER_RSA_KEY, "RS256"),  # not the key of this id
        ({"kid": "shared"}, b"k" * 32, "HS256"),  # a symmetric key in a public list
        ({}, RSA_KEY, "RS256"),  # no id, and several keys
        ({"kid": "nobody"}, RSA_KEY, "RS256"),
    ],
)
async def test_a_provider_s_token_needs_the_right_key(header: dict[str, Any], key: Any, algorithm: str) -> None:
    with pytest.raises(Unauthenticated):
        await Provider().tokens().owner(jwt.encode(claims(), key, algorithm=algorithm, headers=header))


async def test_with_a_provider_our_own_secret_counts_only_when_it_is_set(tmp_path: Path) -> None:
    ours = signed({"alg": "HS256"}, claims())
    with pytest.raises(Unauthenticated):
        await Provider().tokens(data_dir=tmp_path).owner(ours)
    assert await Provider().tokens(auth_secret=SecretStr(SECRET)).owner(ours) == "ada"


async def test_a_key_rotated_a_second_ago_is_fetched() -> None:
    provider = Provider()
    tokens = provider.tokens()
    await tokens.owner(jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": "one"}))
    provider.keys = {"three": OTHER_RSA_KEY}
    new = jwt.encode(claims(), OTHER_RSA_KEY, algorithm="RS256", headers={"kid": "three"})
    assert await tokens.owner(new) == "ada"
    with pytest.raises(Unauthenticated):
        await tokens.owner(jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": "one"}))


async def test_invented_key_ids_do_not_flood_the_provider() -> None:
    provider = Provider()
    tokens = provider.tokens()
    for number in range(50):
        with pytest.raises(Unauthenticated):
            await tokens.owner(jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": f"k{number}"}))
    assert provider.requests == ProviderKeys.burst


async def test_a_provider_that_fails_keeps_its_last_keys() -> None:
    provider = Provider()
    tokens = provider.tokens()
    good = jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": "one"})
    provider.broken = True
    with pytest.raises(Unavailable):
        await tokens.owner(good)
    provider.broken = False
    assert await tokens.owner(good) == "ada"
    provider.broken = True
    assert await tokens.owner(good) == "ada"


def test_the_secret_is_made_once_though_many_start_at_the_same_time(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", auth_secret=None)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(signing_secret(settings))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file = tmp_path / "data" / auth.SECRET_FILE
    assert len(set(found)) == 1
    assert len(found[0]) >= 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [auth.SECRET_FILE]


def test_a_secret_too_short_to_sign_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="32 bytes"):
        signing_secret(settings_with(auth_secret=SecretStr("short")))
    (tmp_path / auth.SECRET_FILE).write_text("short")
    with pytest.raises(StartError, match="32 bytes"):
        signing_secret(Settings(data_dir=tmp_path, auth_secret=None))


def test_where_a_provider_issues_the_tokens_muster_does_not() -> None:
    with pytest.raises(StartError, match="identity provider"):
        issue_token(settings_with(auth_secret=None, auth_jwks_url="https://provider.test/keys"), "ada", 60)


@pytest.mark.usefixtures("mock_documents")
async def test_a_sign_in_code_works_once() -> None:
    code = await auth.issue_signin_code("ada")
    assert await auth.redeem_signin_code(code) == "ada"
    with pytest.raises(Unauthenticated):
        await auth.redeem_signin_code(code)


@pytest.mark.usefixtures("mock_documents")
async def test_a_sign_in_code_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "SIGNIN_SECONDS", -1)
    code = await auth.issue_signin_code("ada")
    with pytest.raises(Unauthenticated):
        await auth.redeem_signin_code(code)


async def test_a_sign_in_code_is_not_stored(mock_documents: Any) -> None:
    code = await auth.issue_signin_code("ada")
    assert code not in str(await mock_documents["signin_codes"].find().to_list(None))
