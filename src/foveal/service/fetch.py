"""Fetch an image that a client names by URL, without becoming its hand inside our network (SSRF).

A name is resolved once. Every address it has must lie on the public internet, and the connection is made to
the very address that was checked: a second answer of the name server (DNS rebinding) is never asked for.
Redirects are followed by hand, each with the same checks.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from foveal.service.errors import ServiceError
from foveal.service.names import Lookups

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Count = Callable[[int], None]
"""Told how many bytes are about to be kept; raises if they are too many."""

MOST_REDIRECTS = 3
_LONGEST_URL = 2_048
_MOST_ADDRESSES = 4
"""Addresses of one name that are tried."""
_CHUNK = 2**16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}
_UNSEEN = re.compile(r"[\x00-\x20\x7f]")
_SAFE = "%/:=&?~+!$,;'@()*[]"

# IANA's registries of special-purpose addresses (RFC 6890 and later), and multicast. Written out, because
# what ipaddress.is_global says differs between versions of Python.
_REFUSED_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by carriers (CGNAT)
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local: the metadata of clouds lies here
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
"""All that is given out as global unicast. IPv4-mapped addresses, NAT64 (64:ff9b::/96, 64:ff9b:1::/48),
loopback, unique local, link-local, site-local and multicast lie outside."""
_REFUSED_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: holds an IPv4 address
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet's, for one host."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if address.scope_id is not None or address not in _UNICAST_V6:
        return False
    return not any(address in network for network in _REFUSED_V6)


def _uncounted(_: int) -> None:
    """Any number will do."""


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches images by URL. Safe to use from several threads.

    Attributes:
        max_bytes: of an image.
        seconds: for one image, from the name server to the last byte, redirects included.
        ports: of other servers that may be connected to.
        lookups: resolve the names of hosts.
        permitted: which addresses may be connected to.
    """

    max_bytes: int
    seconds: float
    ports: tuple[int, ...] = (80, 443)
    lookups: Lookups = field(default_factory=Lookups)
    permitted: Callable[[Address], bool] = is_public

    def __call__(self, url: str, count: Count = _uncounted) -> bytes:
        """Fetch one image.

        Args:
            url: where it is.
            count: told of all bytes before they are kept; what it raises ends the fetching.

        Raises:
            ServiceError: ``invalid_url``, ``address_refused``, ``image_too_large``, ``fetch_timed_out`` or
                ``fetch_failed``. No message repeats an address or anything else that the other side said.
        """
        deadline = time.monotonic() + self.seconds
        try:
            for _ in range(MOST_REDIRECTS + 1):
                parts, port = self._checked(url)
                with closing(self._ask(parts, port, deadline)) as asked, asked.getresponse() as response:
                    if response.status not in _REDIRECTS:
                        return self._body(response, count)
                    url = self._next(parts, response)
        except TimeoutError:
            raise ServiceError("fetch_timed_out", f"it did not come within {self.seconds:g} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServiceError("fetch_failed", f"the other server failed ({type(error).__name__})") from error
        raise ServiceError("fetch_failed", f"more than {MOST_REDIRECTS} redirects")

    def _checked(self, url: str) -> tuple[SplitResult, int]:
        """Parts and port of a URL that may be asked for."""
        if len(url) > _LONGEST_URL or _UNSEEN.search(url):
            raise _invalid(f"it has spaces or control codes, or more than {_LONGEST_URL} characters")
        try:
            parts = urlsplit(url)
            port = _PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
        except ValueError:
            raise _invalid("it cannot be read") from None
        if parts.scheme not in _PORTS:
            raise _invalid("only http and https are fetched")
        if not parts.hostname or "@" in parts.netloc or "%" in parts.netloc:
            raise _invalid("it has no host, or names a user")
        if port not in self.ports:
            raise ServiceError("address_refused", f"only the ports {self._known_ports()} are asked")
        return parts, port

    def _known_ports(self) -> str:
        return ", ".join(map(str, self.ports))

    def _ask(self, parts: SplitResult, port: int, deadline: float) -> http.client.HTTPConnection:
        """Send the request to an address that was checked."""
        host = _ascii(parts.hostname or "")
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self._connect(host, port, parts.scheme == "https", deadline)
        try:
            shown = f"[{host}]" if ":" in host else host
            connection.putrequest("GET", _target(parts), skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", shown if port == _PORTS[parts.scheme] else f"{shown}:{port}")
            connection.putheader("User-Agent", "foveal")
            connection.putheader("Accept", "image/*")
            connection.putheader("Accept-Encoding", "identity")
            connection.putheader("Connection", "close")
            connection.endheaders()
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, host: str, port: int, encrypted: bool, deadline: float) -> Any:
        failure: OSError | None = None
        for address in self._addresses(host, port, deadline):
            try:
                plain = socket.create_connection((str(address), port), timeout=_left(deadline))
                return _Timed(_encrypt(plain, host, deadline) if encrypted else plain, deadline)
            except OSError as error:
                failure = error
        raise failure or OSError("no address")

    def _addresses(self, host: str, port: int, deadline: float) -> list[Address]:
        """The addresses of a host; one that is not permitted condemns them all."""
        try:
            found = [ipaddress.ip_address(text) for text in self.lookups(host, port, _left(deadline))]
        except TimeoutError:
            raise
        except (OSError, UnicodeError, ValueError):
            raise ServiceError("fetch_failed", "its host has no address") from None
        if not all(map(self.permitted, found)):
            raise ServiceError("address_refused", "its host is not on the public internet")
        return found[:_MOST_ADDRESSES]

    def _next(self, parts: SplitResult, response: http.client.HTTPResponse) -> str:
        """Where a redirect leads."""
        target = urljoin(parts.geturl(), response.getheader("Location") or "")
        if parts.scheme == "https" and not target.startswith("https:"):
            raise ServiceError("fetch_failed", "a redirect leads from https to http")
        return target

    def _body(self, response: http.client.HTTPResponse, count: Count) -> bytes:
        if response.status != http.client.OK:
            raise ServiceError("fetch_failed", f"the other server answered with status {response.status}")
        if response.getheader("Content-Encoding", "identity").lower() != "identity":
            raise ServiceError("fetch_failed", "the other server sent it in a compressed form")
        length = response.length
        if length is not None and length > self.max_bytes:
            raise self._too_large()
        data = io.BytesIO()
        while chunk := response.read(_CHUNK):
            if data.tell() + len(chunk) > self.max_bytes:
                raise self._too_large()
            count(len(chunk))
            data.write(chunk)
        if length is not None and data.tell() != length:
            raise ServiceError("fetch_failed", "the other server ended too early")
        return data.getvalue()

    def _too_large(self) -> ServiceError:
        return ServiceError(
            "image_too_large", f"it has more bytes than the limit of {self.max_bytes / 2**20:.4g} MiB"
        )


class _Timed:
    """A socket as :mod:`http.client` uses it, whose every step must end before one deadline.

    A time-out of the socket itself would start anew with every byte of a server that drips.
    """

    def __init__(self, plain: socket.socket, deadline: float) -> None:
        self._plain = plain
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._plain.settimeout(_left(self._deadline))
        self._plain.sendall(data)

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._plain, self._deadline), _CHUNK)

    def close(self) -> None:
        self._plain.close()


class _TimedReader(io.RawIOBase):
    """Reads from a socket until a deadline; keeps it open when the connection has let go of it."""

    def __init__(self, plain: socket.socket, deadline: float) -> None:
        self._plain = plain
        self._raw = plain.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._plain.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _encrypt(plain: socket.socket, host: str, deadline: float) -> ssl.SSLSocket:
    try:
        plain.settimeout(_left(deadline))
        return _trusting().wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


@cache
def _trusting() -> ssl.SSLContext:
    """Trusts the system's certificates; reading them takes a while."""
    return ssl.create_default_context()


def _left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _ascii(host: str) -> str:
    """A host's name as it is asked for: international ones in their ASCII form."""
    if ":" in host:
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise _invalid("its host is no name") from None


def _target(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe=_SAFE)
    return f"{path}?{quote(parts.query, safe=_SAFE)}" if parts.query else path


def _invalid(reason: str) -> ServiceError:
    return ServiceError("invalid_url", reason)
