"""Where webhooks may go: an address is checked when it is given, and every one that its name stands for at each
connection. The connection goes to the very address that was checked, so a name that changes its mind gains nothing.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore
import httpx

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name. Raises OSError when it has none."""

RESOLVE_WITHIN = 5.0  # seconds
CONNECT_WITHIN = 5.0  # seconds for each address of a host, so that a dead one leaves time for the next
LONGEST = 2_048  # characters

# With MUSTER_WEBHOOKS_ALLOW_PRIVATE these may be sent to: the machine itself and what stands beside it.
PRIVATE: Sequence[IPv4Network | IPv6Network] = (
    IPv4Network("127.0.0.0/8"),
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("100.64.0.0/10"),  # shared between carriers and their customers; overlay networks use it
    IPv6Network("::1/128"),
    IPv6Network("fc00::/7"),
)
# Never, though Python counts some of them as global. Metadata services of clouds are link-local, or among these.
NEVER: Sequence[IPv4Network | IPv6Network] = (
    IPv4Network("100.100.100.200/32"),  # Alibaba's metadata
    IPv4Network("168.63.129.16/32"),  # Azure's
    IPv4Network("192.0.0.0/24"),  # Oracle's, and protocol assignments
    IPv4Network("192.88.99.0/24"),  # relays to 6to4
    IPv6Network("2001::/23"),  # Teredo and other protocols
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),
    IPv6Network("fd00:ec2::/32"),  # Amazon's metadata
)
GLOBAL_V6 = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")

# Look-ups block a thread each. They have their own, so that names nobody answers for hold up nothing else.
_LOOK_UPS = ThreadPoolExecutor(32, thread_name_prefix="webhooks-resolver")


class Refused(Exception):
    """Muster does not send there; the message says why, for the webhook's owner."""


def is_public(address: Address) -> bool:
    """Whether an address is a place on the internet, and no special one."""
    if any(address in network for network in NEVER if network.version == address.version):
        return False
    if isinstance(address, IPv6Address):
        return address in GLOBAL_V6 and address.is_global
    return address.is_global and not address.is_multicast and not address.is_reserved


def is_private(address: Address) -> bool:
    """Whether the setting makes the difference."""
    if any(address in network for network in NEVER if network.version == address.version):
        return False
    return any(address in network for network in PRIVATE if network.version == address.version)


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, by the system's resolver."""
    look_up = asyncio.get_running_loop().run_in_executor(
        _LOOK_UPS, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    async with asyncio.timeout(RESOLVE_WITHIN):
        found = await look_up
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class Policy:
    """Which addresses are allowed, and who says what a name stands for."""

    allow_private: bool = False
    resolve: Resolve = resolve

    def read(self, url: str) -> httpx.URL:
        """The parsed address. Raises Refused on what needs no look-up to be refused."""
        if len(url) > LONGEST or not url.isprintable():
            raise Refused(f"An address has at most {LONGEST:,} printable characters.")
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise Refused(f"This is no address ({error}).") from None
        if parsed.scheme not in ("https", "http") or not parsed.host:
            raise Refused("Give an address that begins with https://.")
        if parsed.scheme == "http" and not self.allow_private:
            raise Refused("Give an https address: payloads name people. MUSTER_WEBHOOKS_ALLOW_PRIVATE=1 allows http.")
        if parsed.userinfo:
            raise Refused("The address holds a user name or password; the signature says who sends.")
        if "%" in parsed.host or "\\" in url or (parsed.port is not None and not 0 < parsed.port < 65_536):
            raise Refused("The host or port of this address cannot be used.")
        return parsed

    async def check(self, url: str) -> None:
        """Raise Refused when Muster would not send there now. A name that nobody knows yet may be known later."""
        parsed = self.read(url)
        try:
            await self.addresses(parsed.raw_host.decode(), parsed.port or 443)
        except (OSError, UnicodeError):
            return

    async def addresses(self, host: str, port: int) -> Sequence[Address]:
        """Every address of a host, all of them allowed. Raises Refused, or OSError when it has none."""
        try:
            found: Iterable[Address] = [ip_address(host)]
        except ValueError:
            found = [ip_address(address) for address in await self.resolve(host, port)]
        checked = list(found)
        for address in checked:
            meant = _meant(address)
            if is_public(meant) or (self.allow_private and is_private(meant)):
                continue
            if is_private(meant):
                raise Refused(
                    f"{host} is an address of a private network ({address}); MUSTER_WEBHOOKS_ALLOW_PRIVATE=1 allows it."
                )
            raise Refused(f"{host} is an address that no webhook goes to ({address}): not a public one.")
        return checked


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to an address that the policy has just checked. TLS still asks for the host's own certificate."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._policy.addresses(host, port)
        except (OSError, UnicodeError) as error:  # a TimeoutError too
            raise httpcore.ConnectError(f"the name {host} does not resolve") from error
        failed: Exception = httpcore.ConnectError(f"the name {host} has no address")
        for address in addresses:
            try:
                return await self._backend.connect_tcp(
                    str(address), port, min(timeout or CONNECT_WITHIN, CONNECT_WITHIN), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)
