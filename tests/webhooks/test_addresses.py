"""Where webhooks may not go: by number, by name, and by a name that changes its mind."""

import ipaddress
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from muster.webhooks import posting
from muster.webhooks.addresses import Policy, Refused
from muster.webhooks.posting import Answer, Poster
from tests.webhooks.receiver import Receiver, Reply, receiving

PUBLIC = ("1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::1.1.1.1")
PRIVATE = (
    *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"),
    *("::1", "fd12::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "64:ff9b::10.0.0.1"),
)
NEVER = (
    *("0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),  # noqa: S104
    *("255.255.255.255", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "168.63.129.16"),
    *("100.100.100.200", "::", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "2002:7f00:1::"),
    *(
        "2001:0:7f00:1::",
        "fd00:ec2::254",
        "::127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "5f00::1",
    ),
)


def policy(*, allow_private: bool = False, **names: Sequence[str]) -> Policy:
    """A policy whose resolver knows these names, and answers with the next list each time where there are several."""

    async def resolve(host: str, _port: int) -> Sequence[str]:
        if host.partition(".")[0] not in names:
            raise OSError("no such name")
        return names[host.partition(".")[0]]

    return Policy(allow_private, resolve)


def url_of(address: str) -> str:
    return f"https://[{address}]/hook" if ":" in address else f"https://{address}/hook"


@pytest.mark.parametrize("address", PUBLIC)
async def test_public_addresses_are_allowed(address: str) -> None:
    await policy().check(url_of(address))
    await policy(name=[address]).check("https://name.test/hook")


@pytest.mark.parametrize("address", PRIVATE)
async def test_private_addresses_are_refused_unless_the_setting_allows_them(address: str) -> None:
    """As a number, and behind a name, also as one among public ones."""
    for url in (url_of(address), "https://name.test/hook"):
        with pytest.raises(Refused, match="MUSTER_WEBHOOKS_ALLOW_PRIVATE"):
            await policy(name=["1.1.1.1", address]).check(url)
        await policy(allow_private=True, name=["1.1.1.1", address]).check(url)


@pytest.mark.parametrize("address", NEVER)
async def test_special_addresses_are_refused_always(address: str) -> None:
    """Metadata services of clouds, link-local, multicast, reserved."""
    for allow_private in (False, True):
        for url in (url_of(address), "https://name.test/hook"):
            with pytest.raises(Refused, match="no webhook goes to"):
                await policy(allow_private=allow_private, name=["1.1.1.1", address]).check(url)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "localhost"])
async def test_odd_spellings_of_the_loopback_are_no_way_around(host: str) -> None:
    """By the system's own resolver, as a connection would go."""
    checked = Policy()
    try:
        found = await checked.resolve(host, 443)
    except OSError:
        return  # no address at all
    assert all(ipaddress.ip_address(address).is_loopback for address in found)
    with pytest.raises(Refused):
        await checked.check(f"https://{host}/hook")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://example.com/",
        "example.com/hook",
        "https:///hook",
        "https://user:secret@example.com/",
        "https://@127.0.0.1@example.com/",
        "https://example.com:0/",
        "https://exa mple.com/",
        "https://exam%00ple.com/",
        "https://example.com\\@127.0.0.1/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://example.com/\r\nHost: evil",
        "https://example.com/" + "x" * 3000,
        "",
    ],
)
async def test_what_is_no_plain_https_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        await policy(example=["1.1.1.1"]).check(url)


async def test_a_name_that_nobody_knows_yet_may_be_known_later() -> None:
    """It is checked again at every connection anyway."""
    await policy().check("https://unknown.test/")
    async with Poster(policy()) as poster:
        answer = await poster.post("https://unknown.test/", b"{}", {})
    assert answer.error == "The connection failed: the name unknown.test does not resolve."


async def test_a_name_that_changes_its_mind_gains_nothing(receiver: Receiver) -> None:
    """Public when the webhook was made, the loopback when it is connected to."""
    answers = [["1.1.1.1"], ["127.0.0.1"]]

    async def rebinding(_host: str, _port: int) -> Sequence[str]:
        return answers.pop(0)

    tricked = Policy(resolve=rebinding)
    url = f"https://rebinding.test:{receiver.port}/"
    await tricked.check(url)
    async with Poster(tricked) as poster:
        answer = await poster.post(url, b"{}", {})
    assert answer.error is not None
    assert "private network (127.0.0.1)" in answer.error
    assert (answers, receiver.received) == ([], [])


async def test_a_connection_goes_to_the_very_address_that_was_checked(receiver: Receiver) -> None:
    """The name is looked up once for it; nobody looks again behind the check."""
    asked = []

    async def once(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async with Poster(Policy(True, once)) as poster:
        answer = await poster.post(f"http://name.that.resolves.nowhere.invalid:{receiver.port}/", b"{}", {})
    assert (answer.status, asked) == (204, ["name.that.resolves.nowhere.invalid"])
    assert receiver.received[0].headers["host"] == f"name.that.resolves.nowhere.invalid:{receiver.port}"


async def test_the_next_address_is_tried_when_one_does_not_answer(receiver: Receiver) -> None:
    both = policy(allow_private=True, name=["127.0.0.2", "127.0.0.1"])
    async with Poster(both) as poster:
        assert (await poster.post(f"http://name.test:{receiver.port}/", b"{}", {})).status == 204


@pytest.mark.parametrize(("certified", "delivered"), [("hooks.test", True), ("other.test", False)])
async def test_tls_asks_for_the_name_though_the_connection_goes_to_an_address(
    certified: str, delivered: bool, tmp_path: Path
) -> None:
    server, client = certificates(certified, tmp_path)
    async with (
        receiving(server) as receiver,
        Poster(policy(allow_private=True, hooks=["127.0.0.1"]), tls=client) as poster,
    ):
        answer = await poster.post(f"https://hooks.test:{receiver.port}/", b"{}", {})
    assert (answer.error is None) == delivered, answer
    if not delivered:
        assert answer.error is not None
        assert "certificate" in answer.error.lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    async with receiving() as other:
        receiver.otherwise = Reply(status, {"Location": other.url})
        answer = await post(receiver)
        assert answer.error == f"The endpoint answered {status}; redirects are not followed."
        assert other.received == []


async def test_of_an_answer_only_the_beginning_is_read(receiver: Receiver) -> None:
    """A large one is not waited for; that of a success is not kept at all."""
    receiver.replies.append(Reply(500, {"Content-Length": str(10**12)}, b"x" * 5_000))
    answer = await post(receiver)
    assert (answer.status, answer.response) == (500, "x" * posting.LARGEST_RESPONSE)
    receiver.replies.append(Reply(200, body=b"P0001 is welcome"))
    assert (await post(receiver)).response is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("0", 0), ("9" * 30, 86_400), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", None), ("-5", None)],
)
async def test_wishes_to_be_left_alone_are_read_and_bounded(
    receiver: Receiver, header: str, seconds: float | None
) -> None:
    receiver.otherwise = Reply(503, {"Retry-After": header})
    assert (await post(receiver)).retry_after == seconds


async def test_garbage_is_a_failure_and_no_error(receiver: Receiver) -> None:
    """Whatever an endpoint answers."""
    receiver.replies += [Reply(99), Reply(204, {"a\0b": "c"}), Reply(200, {"Content-Length": "x"})]
    for _ in range(3):
        assert (await post(receiver)).error is not None


async def post(receiver: Receiver) -> Answer:
    async with Poster(policy(allow_private=True)) as poster:
        return await poster.post(receiver.url, b"{}", {})


def certificates(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for a name, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate").write_bytes(certificate.public_bytes(pem))
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key").write_bytes(key.private_bytes(pem, *plain))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "certificate", folder / "key")
    return server, ssl.create_default_context(cafile=str(folder / "certificate"))
