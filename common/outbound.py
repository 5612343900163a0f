"""Requests to servers that somebody outside names. They reach public addresses and nothing of ours.

The name is resolved once, every address it has must be public, and the connection goes to one of those: a name
that points elsewhere a moment later changes nothing. No proxy of the environment is used. ``post`` follows no
redirect; ``get`` follows some, each looked at like an address that was given.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

#: Seconds for all of it: resolving, connecting, sending, redirects, the answer.
TIMEOUT_SECONDS = 10.0
#: Bytes of an answer that is read, after it was decompressed.
BODY_MAX = 5_000_000
REDIRECTS_MAX = 5
PORTS = frozenset({80, 443})
#: How the certificates of others are checked.
TLS: ssl.SSLContext | bool = True

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: All IPv6 addresses of the public internet; beside it are old ones that networks may still use inside, and forms
#: in which a router finds an IPv4 address.
_GLOBAL = ipaddress.ip_network("2000::/3")


class OutboundError(Exception):
    """The other server must not be asked, could not be asked, or did not answer in time."""


def is_public(address: str) -> bool:
    """Tell whether an IP address, with whatever IPv4 address it stands for, belongs to the public internet."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _GLOBAL:
            return False
    return ip.is_global and not ip.is_multicast


def check_url(url: str, *, schemes: tuple[str, ...] = ("http", "https"), local: bool = False) -> URL:
    """Return an address that may be asked, as far as can be told without resolving its name.

    Args:
        local: addresses that are not public and other ports may be asked too, as on a developer's machine.

    Raises:
        OutboundError: another scheme or port, a user name in it, or an address that is not public.
    """
    try:
        parsed = URL(url)
        host, port = parsed.host, parsed.port
    except ValueError as error:
        raise OutboundError("This is not an address.") from error
    if parsed.scheme not in schemes or not host:
        raise OutboundError(f"The address must begin with {' or '.join(schemes)}.")
    if parsed.user is not None or parsed.password is not None:
        raise OutboundError("The address must not hold a user name.")
    if local:
        return parsed
    if port not in PORTS:
        raise OutboundError(f"Only the ports {', '.join(map(str, sorted(PORTS)))} are reached.")
    if _is_ip(host) and not is_public(host):
        raise OutboundError("The address is not a public one.")
    return parsed


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    schemes: tuple[str, ...] = ("https",),
    local: bool = False,
) -> int:
    """Send ``body`` and return the status of the answer, whose body is not read.

    Args:
        local: as in ``check_url``.

    Raises:
        OutboundError: it must not be asked, or did not answer.
    """
    async with _within_time(), _session(local=local) as session:
        target = check_url(url, schemes=schemes, local=local)
        async with session.post(target, data=body, headers=headers, allow_redirects=False) as response:
            return response.status


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Attributes:
        url: of the last redirect.
        content_type: without its parameters, in small letters.
        charset: as the server says; may be empty or unknown.
        body: None where it was not wanted.
        length: as the server says, in bytes; may be None or wrong.
    """

    url: str
    status: int
    content_type: str
    charset: str
    body: bytes | None
    length: int | None


async def get(url: str, headers: Mapping[str, str], *, wants: Callable[[str], bool]) -> Answer:
    """Ask for a page, and for those that it redirects to.

    Args:
        wants: tells by its type whether the body of an answer is read.

    Raises:
        OutboundError: it must not be asked, did not answer in time, or answered too much.
    """
    async with _within_time(), _session() as session:
        target = check_url(url)
        for _ in range(REDIRECTS_MAX + 1):
            async with session.get(target, headers=headers, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status not in (301, 302, 303, 307, 308) or not location:
                    return await _answer(response, wants)
                # Resolved anew by the next request, and refused there if it is not public.
                target = check_url(str(target.join(URL(location))))
        raise OutboundError(f"It redirects more than {REDIRECTS_MAX} times.")


async def _answer(response: aiohttp.ClientResponse, wants: Callable[[str], bool]) -> Answer:
    body = None
    if wants(response.content_type.lower()):
        read = bytearray()
        async for piece in response.content.iter_any():
            read += piece
            if len(read) > BODY_MAX:
                raise OutboundError(f"The answer is longer than {BODY_MAX:,} bytes.")
        body = bytes(read)
    return Answer(
        url=str(response.url),
        status=response.status,
        content_type=response.content_type.lower(),
        charset=response.charset or "",
        body=body,
        length=response.content_length,
    )


def _session(*, local: bool = False) -> aiohttp.ClientSession:
    """Return a client that keeps nothing, and connects to public addresses only, unless ``local``."""
    connector = aiohttp.TCPConnector(resolver=None if local else _PublicResolver(), ssl=TLS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


@asynccontextmanager
async def _within_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield
    except TimeoutError as error:
        raise OutboundError(f"No answer within {TIMEOUT_SECONDS:g} seconds.") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise OutboundError(str(error) or type(error).__name__) from error


class _PublicResolver(AbstractResolver):
    """Resolves names whose addresses are all public."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of ``host``.

        Raises:
            OSError: there is no such name.
            OutboundError: not all of them are public.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        addresses = [(family, str(address[0])) for family, _, _, _, address in found]
        if not addresses or not all(is_public(address) for _, address in addresses):
            raise OutboundError(f"{host} is not at a public address.")
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
            )
            for family, address in addresses
        ]

    async def close(self) -> None:
        """Nothing is kept."""
