"""What somebody outside names is asked only where it is public, whatever its name resolves to."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common import outbound
from common.outbound import OutboundError, check_url, is_public, post

NAME = "push.test"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff0e::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::a00:1", False),
        ("fec0::1", False),
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", False),
    ],
)
def test_what_is_public(address: str, expected: bool) -> None:
    assert is_public(address) is expected


@pytest.mark.parametrize(
    "url",
    [
        "http://push.test/x",
        "ftp://push.test/x",
        "https://push.test:8443/x",
        "https://user@push.test/x",
        "https://user:secret@push.test/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https:///x",
        "https://",
        "//push.test",
        "push.test",
        "",
        "https://push.test:99999/",
        "https://[x/",
        "javascript:alert(1)",
    ],
)
def test_what_is_never_asked(url: str) -> None:
    with pytest.raises(OutboundError):
        check_url(url, schemes=("https",))


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[Any]:
    """Have every name resolve to these addresses; return what was asked for."""
    asked: list[Any] = []

    async def getaddrinfo(self: object, host: str, port: int, **kwargs: Any) -> list[Any]:
        asked.append(host)
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (family[ipaddress.ip_address(address).version], socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:192.168.0.1"], []])
async def test_a_name_with_an_address_that_is_not_public_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    asked = resolve_to(monkeypatch, *addresses)
    with pytest.raises(OutboundError, match="not at a public address"):
        await post(f"https://{NAME}/x", b"", {})
    assert asked == [NAME]


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "017700000001"])
async def test_odd_ways_to_write_an_address_lead_nowhere(host: str) -> None:
    with pytest.raises(OutboundError):
        await post(f"https://{host}/x", b"", {})


# --- a server with a certificate ----------------------------------------------------------------


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what a server named ``NAME`` shows, and what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = built.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "server.pem"
    file.write_bytes(private + pem)
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(file)
    return shown, ssl.create_default_context(cadata=pem.decode())


class Server:
    """Answers every request with ``answer`` and keeps what it got."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        if self.answer:
            writer.write(self.answer)
            await writer.drain()
        else:
            await reader.read()  # until the other side gives up
        writer.close()


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A server that passes for a public one."""
    shown, trusting = certificate(tmp_path)
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=shown)
    made.port = listening.sockets[0].getsockname()[1]
    resolve_to(monkeypatch, "127.0.0.1")
    monkeypatch.setattr(outbound, "PORTS", {made.port})
    monkeypatch.setattr(outbound, "TLS", trusting)
    monkeypatch.setattr(outbound, "is_public", lambda address: True)
    yield made
    listening.close()
    await listening.wait_closed()


async def test_a_request_arrives_with_the_name_that_was_asked_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert await post(f"https://{NAME}:{server.port}/a%2Fb?c", b"body", {"TTL": "5"}) == 201
    (request,) = server.requests
    assert request.startswith(b"POST /a%2Fb?c HTTP/1.1\r\n")
    assert f"Host: {NAME}:{server.port}".encode() in request
    assert b"TTL: 5" in request


async def test_a_server_that_shows_the_certificate_of_another_is_not_asked(server: Server) -> None:
    with pytest.raises(OutboundError):
        await post(f"https://other.test:{server.port}/", b"body", {})
    assert server.requests == []


async def test_redirects_are_not_followed(server: Server) -> None:
    server.answer = b"HTTP/1.1 307 Moved\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    assert await post(f"https://{NAME}:{server.port}/", b"", {}) == 307
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 20", b"nonsense\r\n\r\n"])
async def test_a_server_that_does_not_answer_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(outbound, "TIMEOUT_SECONDS", 0.3)
    server.answer = answer
    with pytest.raises(OutboundError):
        await post(f"https://{NAME}:{server.port}/", b"", {})
