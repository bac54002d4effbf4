"""Getting in and out: links that work once, tokens, sessions, and forms that nobody else can send."""

import html
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import jwt
import pytest

from muster.api.auth import issue_signin_code, issue_token
from muster.api.documents import SigninCode
from muster.console.sessions import SESSION, SESSION_SECONDS, VISITOR, Sessions
from muster.settings import Settings
from tests.console.conftest import form_token, sign_in
from tests.console.worlds import HOSTILE


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


async def test_one_is_led_back_to_the_page_that_was_asked_for(
    visitor: httpx.AsyncClient, token_for: Callable[[str], str]
) -> None:
    """By the form, by a link, and from a page that refreshes itself; never out of the console."""
    asked = await visitor.get("/cohorts?q=best%26worst&kind=static")
    assert asked.status_code == 303
    page = await visitor.get(asked.headers["location"])
    kept = html.unescape(re.findall(r'name="next" value="([^"]*)"', page.text)[0])
    assert kept == "/cohorts?q=best%26worst&kind=static"
    body = {"form_token": form_token(page.text), "token": token_for("ada"), "next": kept}
    assert (await visitor.post("/signin", data=body)).headers["location"] == kept
    assert (await visitor.get("/signin", params={"next": "/jobs"})).headers["location"] == "/jobs"

    visitor.cookies.clear()
    piece = {"HX-Request": "true", "HX-Current-URL": "http://muster.test/cohorts/COH-1?cursor=x#members"}
    refreshed = await visitor.get("/cohorts/COH-1", headers=piece)
    assert (refreshed.status_code, refreshed.headers["hx-redirect"]) == (
        401,
        "/signin?next=%2Fcohorts%2FCOH-1%3Fcursor%3Dx",
    )
    for unsaid in ("/", f"/cohorts?q={'x' * 5000}"):
        assert (await visitor.get(unsaid)).headers["location"] == "/signin"
    for elsewhere in ("https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example", "javascript:x"):
        link = await visitor.get("/signin", params={"code": await issue_signin_code("ada"), "next": elsewhere})
        assert link.headers["location"] == "/", elsewhere
        visitor.cookies.clear()


OURS = {"Sec-Fetch-Site": "same-origin"}


async def test_what_was_typed_outlives_its_session(
    visitor: httpx.AsyncClient, token_for: Callable[[str], str], client: httpx.AsyncClient
) -> None:
    """A form sent after its session ended is kept through signing in, a wrong token too, and done when sent again."""
    await sign_in(visitor, "ada")
    asked = {"name": HOSTILE, "kind": "dynamic", "rule": "lead.score > 5\nand true", "description": ""}
    typed = {**asked, "api_key": "s3cret", "form_token": form_token((await visitor.get("/cohorts/new")).text)}
    visitor.cookies.clear()
    asking = await visitor.post("/assign", data={"do": "plan"}, headers={**OURS, "HX-Request": "true"})
    assert asking.status_code == 401
    assert "a form that you send is kept" in asking.text
    page = await visitor.post("/cohorts/new", data=typed, headers=OURS, follow_redirects=True)
    for token, status in (("wrong", 200), (token_for("ada"), 401)):
        assert page.status_code == status
        assert "What you typed is kept" in page.text
        page = await visitor.post("/signin", data={**fields_of(page.text), "token": token})
    assert page.status_code == 200
    assert "s3cret" not in page.text
    assert "<img src=x" not in page.text
    assert (await client.get("/v1/cohorts")).json()["items"] == []
    again = fields_of(page.text)
    assert again.items() >= asked.items()
    assert re.findall(r'<form method="post" action="([^"]*)"', page.text)[-1] == "/cohorts/new"
    assert (await visitor.post("/cohorts/new", data=again, headers=OURS)).status_code == 303
    assert [cohort["name"] for cohort in (await client.get("/v1/cohorts")).json()["items"]] == [HOSTILE]


async def test_what_was_typed_before_one_signed_in_in_another_tab_is_kept(visitor: httpx.AsyncClient) -> None:
    await sign_in(visitor, "ada")
    asked = {"tags": ["z", "a", "b"], "name": "A", "kind": "static"}
    typed = {**asked, "form_token": form_token((await visitor.get("/cohorts/new")).text)}
    visitor.cookies.clear()
    await sign_in(visitor, "ada")
    page = await visitor.post("/cohorts/new", data=typed, headers=OURS, follow_redirects=True)
    assert "Not sent yet" in page.text
    shown = re.findall(r'<input type="hidden" name="(\w*)" value="(\w)\w*"', page.text)[-5:]
    assert shown == [("tags", "z"), ("tags", "a"), ("tags", "b"), ("name", "A"), ("kind", "s")]
    assert (await visitor.post("/cohorts/new", data=fields_of(page.text), headers=OURS)).status_code == 303


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", None])
async def test_no_other_site_has_a_form_kept(visitor: httpx.AsyncClient, site: str | None) -> None:
    """A browser that sends no session with another site's form must not offer to send it with one."""
    headers = {} if site is None else {"Sec-Fetch-Site": site}
    answer = await visitor.post("/cohorts/new", data={"name": "Evil"}, headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, "/signin")
    direct = await visitor.post("/signin/keep?next=/cohorts/new", data={"name": "Evil"}, headers=headers)
    assert (direct.status_code, direct.headers["location"]) == (303, "/signin")
    await sign_in(visitor, "ada")
    assert (await visitor.post("/cohorts/new", data={"name": "Evil"}, headers=headers)).status_code == 403


async def test_the_address_of_what_was_kept_leads_back_to_its_page(visitor: httpx.AsyncClient) -> None:
    for asked, led in (("/cohorts/new", "/cohorts/new"), ("https://evil.example", "/")):
        answer = await visitor.get("/signin/keep", params={"next": asked})
        assert (answer.status_code, answer.headers["location"]) == (303, led)


def fields_of(page: str) -> dict[str, str]:
    """What the last form of a page carries unseen."""
    form = page.rsplit('<form method="post"', 1)[1].partition("</form>")[0]
    return {
        name: html.unescape(value)
        for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form)
    }


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
    there = "/signin" if path == "/" else f"/signin?next={quote(path, safe='')}"
    assert (answer.status_code, answer.headers["location"]) == (303, there)
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
