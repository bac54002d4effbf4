"""Getting in and out: links that work once, tokens, sessions, and forms that nobody else can send."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import jwt
import pytest

from muster.api.auth import issue_signin_code, issue_token
from muster.api.documents import SigninCode
from muster.console.sessions import SESSION, SESSION_SECONDS, VISITOR, Sessions
from muster.settings import Settings
from tests.console.conftest import form_token, sign_in


async def test_a_printed_link_signs_in_once(visitor: httpx.AsyncClient) -> None:
    link = f"/signin?code={await issue_signin_code('ada')}"
    answer = await visitor.get(link)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "ada" in (await visitor.get("/")).text
    visitor.cookies.clear()
    again = await visitor.get(link)
    assert again.status_code == 401
    assert "used already or is too old" in again.text
    assert SESSION not in again.cookies


async def test_an_expired_or_invented_link_does_not_sign_in(visitor: httpx.AsyncClient) -> None:
    code = await issue_signin_code("ada")
    past = datetime.now(UTC) - timedelta(seconds=1)
    await SigninCode.get_motor_collection().update_many({}, {"$set": {"expires_at": past}})
    for tried in (code, "invented", "", "$ne", "\0"):
        answer = await visitor.get("/signin", params={"code": tried})
        assert answer.status_code == 401, tried
        assert SESSION not in answer.cookies
    assert (await visitor.get("/signin", params={"code": "x" * 300})).status_code == 422


async def test_a_used_link_is_no_trouble_for_whom_it_signed_in(ada: httpx.AsyncClient) -> None:
    """A browser that restores its tabs opens it again."""
    answer = await ada.get("/signin?code=used")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_the_cookie_is_kept_from_scripts_and_other_sites_and_ends(visitor: httpx.AsyncClient) -> None:
    answer = await visitor.get("/signin", params={"code": await issue_signin_code("ada")})
    (cookie,) = answer.headers.get_list("set-cookie")
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert parts == {"httponly", "samesite=lax", "path=/", f"max-age={SESSION_SECONDS}"}
    assert answer.headers["cache-control"] == "no-store"


async def test_over_https_cookies_are_secure(visitor: httpx.AsyncClient) -> None:
    code = await issue_signin_code("ada")
    answer = await visitor.get(f"https://muster.test/signin?code={code}")
    assert "secure" in answer.headers["set-cookie"].lower()
    visitor.cookies.clear()
    assert "secure" in (await visitor.get("https://muster.test/signin")).headers["set-cookie"].lower()


async def test_a_token_signs_in_through_a_plain_form(
    visitor: httpx.AsyncClient, token_for: Callable[[str], str]
) -> None:
    page = await visitor.get("/signin")
    assert page.status_code == 200
    body = {"form_token": form_token(page.text), "token": f"  {token_for('ada')}\n"}
    answer = await visitor.post("/signin", data=body)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert (await visitor.get("/")).status_code == 200


async def test_a_session_ends_no_later_than_its_token(visitor: httpx.AsyncClient, settings: Settings) -> None:
    page = await visitor.get("/signin")
    body = {"form_token": form_token(page.text), "token": issue_token(settings, "ada", 60)}
    await visitor.post("/signin", data=body)
    session = jwt.decode(visitor.cookies[SESSION], options={"verify_signature": False})
    assert session["exp"] <= time.time() + 60


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", "expired", "ünïcode"])
async def test_a_token_that_does_not_hold_brings_the_form_back(
    visitor: httpx.AsyncClient, settings: Settings, token: str
) -> None:
    page = await visitor.get("/signin")
    if token == "expired":
        token = issue_token(settings, "ada", -1)
    answer = await visitor.post("/signin", data={"form_token": form_token(page.text), "token": token})
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert SESSION not in answer.cookies
    repaired = {"form_token": form_token(answer.text), "token": issue_token(settings, "ada", 60)}
    assert (await visitor.post("/signin", data=repaired)).status_code == 303


async def test_forms_from_elsewhere_are_refused(
    visitor: httpx.AsyncClient, settings: Settings, token_for: Callable[[str], str]
) -> None:
    """Without the token of this very visitor or session nothing happens, neither signing in nor out."""
    mine = form_token((await visitor.get("/signin")).text)
    visitor.cookies.clear()
    other = form_token((await visitor.get("/signin")).text)
    assert mine != other
    for token in (None, "", mine, "0" * 64, "\udc80", Sessions(settings).form_token("guessed")):
        body = {"token": token_for("ada")} | ({} if token is None else {"form_token": token})
        content = "&".join(f"{name}={value}" for name, value in body.items()).encode("utf-8", "surrogatepass")
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await visitor.post("/signin", content=content, headers=headers)
        assert answer.status_code == 403, token
        assert SESSION not in answer.cookies
    visitor.cookies.clear()
    assert (await visitor.post("/signin", data={"form_token": "", "token": token_for("ada")})).status_code == 403

    await sign_in(visitor, "ada")
    for token in ("", mine, other):
        answer = await visitor.post("/signout", data={"form_token": token})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
    assert (await visitor.get("/")).status_code == 200


async def test_only_forms_are_read(ada: httpx.AsyncClient) -> None:
    token = form_token((await ada.get("/")).text)
    assert (await ada.post("/signout", json={"form_token": token})).status_code == 415
    assert (await ada.post("/signout", data={"form_token": token, "more": "x" * 200_000})).status_code == 413


async def test_signing_out_ends_the_session_in_the_browser(ada: httpx.AsyncClient) -> None:
    page = await ada.get("/")
    answer = await ada.post("/signout", data={"form_token": form_token(page.text)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/signin")
    assert SESSION not in ada.cookies
    assert (await ada.get("/")).status_code == 303


@pytest.mark.parametrize("path", ["/", "/cohorts/COH-1", "/?q=x"])
async def test_who_is_signed_out_is_sent_to_sign_in(visitor: httpx.AsyncClient, path: str) -> None:
    answer = await visitor.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/signin")
    refresh = await visitor.get(path, headers={"HX-Request": "true"})
    assert (refresh.status_code, refresh.headers["hx-redirect"]) == (401, "/signin")


async def test_a_session_is_no_api_token_and_a_token_no_session(
    ada: httpx.AsyncClient, token_for: Callable[[str], str], settings: Settings
) -> None:
    """Not even where the API's audience is configured to be the console's."""
    session = ada.cookies[SESSION]
    assert (await ada.get("/v1/cohorts")).status_code == 401, "the API takes no cookie"
    assert (await ada.post("/v1/cohorts", json={"name": "x", "kind": "static"})).status_code == 401
    bearer = {"Authorization": f"Bearer {session}"}
    assert (await ada.get("/v1/cohorts", headers=bearer)).status_code == 401
    ada.cookies.clear()
    same_audience = issue_token(settings.model_copy(update={"auth_audience": "muster-console"}), "ada", 60)
    for token in (token_for("ada"), same_audience):
        ada.cookies.clear()
        ada.cookies.set(SESSION, token)
        assert (await ada.get("/")).status_code == 303


async def test_a_forged_or_ended_session_is_none(visitor: httpx.AsyncClient, settings: Settings) -> None:
    claims = {"sub": "ada", "iss": "muster", "aud": "muster-console", "exp": time.time() + 60}
    key = Sessions(settings)._session_key
    good = jwt.encode(claims, key, algorithm="HS256")
    forged = [
        "x",
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode(claims, b"k" * 32, algorithm="HS256"),
        jwt.encode(claims, key * 2, algorithm="HS512"),
        jwt.encode(claims | {"exp": time.time() - 1}, key, algorithm="HS256"),
        jwt.encode(claims | {"aud": "muster"}, key, algorithm="HS256"),
        jwt.encode({name: claims[name] for name in ("sub", "iss", "aud")}, key, algorithm="HS256"),
    ]
    for cookie, status in [*((each, 303) for each in forged), (good, 200)]:
        visitor.cookies.clear()
        visitor.cookies.set(SESSION, cookie)
        assert (await visitor.get("/")).status_code == status, cookie


async def test_a_visitor_keeps_the_cookie_that_the_form_is_bound_to(visitor: httpx.AsyncClient) -> None:
    """Two tabs with the form both work."""
    first = form_token((await visitor.get("/signin")).text)
    assert VISITOR in visitor.cookies
    assert form_token((await visitor.get("/signin")).text) == first
