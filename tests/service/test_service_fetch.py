"""Images by URL: only from the public internet, only from the very address that was checked."""

from __future__ import annotations

import asyncio
import dataclasses
import http.server
import ipaddress
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from service_helpers import Start, error_of, service_in, wait_until

from foveal.service import fetch
from foveal.service.batcher import Pool
from foveal.service.errors import ServiceError
from foveal.service.fetch import Fetcher, is_public
from foveal.service.fetched import fetched
from foveal.service.intake import Item
from foveal.service.limits import Budget
from foveal.service.names import Lookups

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]
REFUSED = [
    "0.0.0.0",  # noqa: S104 - an address, not one to listen on
    "10.1.2.3",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2606:4700:4700::1111%eth0",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_version_4_is_at_least_as_strict_as_python(address: ipaddress.IPv4Address) -> None:
    assert not is_public(address) or (address.is_global and not address.is_multicast)


@given(st.ip_addresses(v=6) | st.integers(0, 2**125 - 1).map(lambda low: ipaddress.IPv6Address(2**125 + low)))
def test_version_6_is_at_least_as_strict_as_python(address: ipaddress.IPv6Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast
        assert address.ipv4_mapped is None
        assert address.sixtofour is None
        assert address.teredo is None


@given(st.ip_addresses(v=4))
def test_no_form_of_version_6_hides_an_address_of_version_4(inner: ipaddress.IPv4Address) -> None:
    low = int(inner)
    forms = [
        low,  # IPv4-compatible
        0xFFFF << 32 | low,  # IPv4-mapped
        0x0064FF9B << 96 | low,  # NAT64
        0x0064FF9B0001 << 80 | low,  # NAT64 of a network of its own
        0x2002 << 112 | low << 80,  # 6to4
        0x20010000 << 96 | (low ^ 0xFFFFFFFF),  # Teredo
    ]
    assert not any(is_public(ipaddress.IPv6Address(form)) for form in forms)


@pytest.mark.parametrize("network", [*fetch._REFUSED_V4, *fetch._REFUSED_V6], ids=str)
def test_networks_are_refused_from_end_to_end(network: Any) -> None:
    assert not is_public(network[0])
    assert not is_public(network[-1])


def is_this_machine(address: fetch.Address) -> bool:
    return str(address) == "127.0.0.1"


class Asked:
    """A resolver that knows what it is told, and counts."""

    def __init__(self, **known: list[str]) -> None:
        self.known = {name.replace("_", "."): addresses for name, addresses in known.items()}
        self.hosts: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.hosts.append(host)
        if host not in self.known:
            raise OSError("no such host")
        return self.known[host]


def fails(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(ServiceError) as caught:
        fetcher(url)
    assert "127.0.0.1" not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize("address", REFUSED)
def test_nothing_is_connected_to_but_public_addresses(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any, **__: Any) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(fetch.socket, "create_connection", connect)
    for known in ([address], ["8.8.8.8", address], [address, "8.8.8.8"]):
        fetcher = Fetcher(10**6, 5.0, lookups=Lookups(Asked(inside_example=known)))
        assert fails(fetcher, "http://inside.example/x.png") == "address_refused"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
    ],
)
def test_all_spellings_of_this_machine_are_refused(host: str) -> None:
    """Asks the real resolver: whatever it makes of a spelling, that is what is checked."""
    assert fails(Fetcher(10**6, 5.0), f"http://{host}/x.png") in {"address_refused", "fetch_failed"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x.png",
        "//public.example/x.png",
        "file:///etc/passwd",
        "ftp://public.example/x.png",
        "gopher://public.example/",
        "data:image/png;base64,AAAA",
        "HTTP//public.example",
        "http://",
        "http:///x.png",
        "http://user@public.example/",
        "http://user:secret@public.example/",
        "http://public.example\\@evil.example/",
        "http://public.example%00.evil.example/",
        "http://[fe80::1%25eth0]/",
        "http://[not-an-address]/",
        "http://public.example:port/",
        "http://public.example:99999/",
        "http://public.example/a b",
        "http://public.example/\r\nX: y",
        "http://public.example/\x00",
        "http://" + 64 * "a" + ".example/",
        "http://public.example/" + 3000 * "a",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    resolver = Asked(public_example=["8.8.8.8"])
    assert fails(Fetcher(10**6, 5.0, lookups=Lookups(resolver)), url) == "invalid_url"
    assert resolver.hosts == []


@pytest.mark.parametrize("port", [0, 22, 25, 6379, 8080])
def test_only_known_ports_are_asked(port: int) -> None:
    resolver = Asked(public_example=["8.8.8.8"])
    fetcher = Fetcher(10**6, 5.0, lookups=Lookups(resolver))
    assert fails(fetcher, f"http://public.example:{port}/") == "address_refused"
    assert resolver.hosts == []


class Answers(http.server.BaseHTTPRequestHandler):
    """Another server: what it does is said by the path."""

    protocol_version = "HTTP/1.1"
    content: ClassVar[bytes] = b""
    seen: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        type(self).seen.append((self.headers["Host"], self.path))
        kind, _, rest = self.path.strip("/").partition("/")
        getattr(self, f"_{kind}")(rest)

    def _image(self, _: str) -> None:
        self._send(200, self.content)

    def _status(self, code: str) -> None:
        self._send(int(code), b"")

    def _to(self, target: str) -> None:
        self._send(302, b"", Location=unquote(target).replace("|", "/"))

    def _hops(self, left: str) -> None:
        if int(left):
            self._send(307, b"", Location=f"/hops/{int(left) - 1}")
        else:
            self._image("")

    def _nowhere(self, _: str) -> None:
        self._send(302, b"")

    def _large(self, size: str) -> None:
        self._send(200, bytes(int(size)))

    def _endless(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(65536))
        except OSError:
            self.close_connection = True

    def _short(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 10)
        self.close_connection = True

    def _packed(self, _: str) -> None:
        self._send(200, self.content, **{"Content-Encoding": "gzip"})

    def _drip(self, _: str) -> None:
        """A byte at a time: no single wait is long."""
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX: " + bytes(1000):
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            self.close_connection = True

    def _silent(self, _: str) -> None:
        time.sleep(1.5)

    def _nonsense(self, _: str) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH\r\n")
        self.close_connection = True

    def _send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def other(png: bytes) -> Iterator[http.server.ThreadingHTTPServer]:
    Answers.content = png
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


Fetching = Callable[..., tuple[Fetcher, str, Asked]]


@pytest.fixture
def fetching(other: http.server.ThreadingHTTPServer) -> Fetching:
    """A fetcher that takes this machine for public, the address of the other server, and its resolver."""
    port = other.server_address[1]

    def make(**settings: Any) -> tuple[Fetcher, str, Asked]:
        resolver = Asked(public_example=["127.0.0.1"], inside_example=["10.0.0.1"])
        defaults: dict[str, Any] = {"max_bytes": 10**6, "seconds": 20.0, "ports": (port, 80)}
        fetcher = Fetcher(
            **{**defaults, **settings},
            lookups=Lookups(resolver),
            permitted=lambda a: a == ipaddress.ip_address("127.0.0.1"),
        )
        return fetcher, f"http://public.example:{port}", resolver

    Answers.seen.clear()
    return make


def test_an_image_is_fetched_from_the_address_that_was_checked(fetching: Fetching, png: bytes) -> None:
    fetcher, base, resolver = fetching()
    assert fetcher(f"{base}/image/a%20b?x=ü") == png
    # Asked for once: there is no second answer that could differ.
    assert resolver.hosts == ["public.example"]
    assert Answers.seen == [(base.removeprefix("http://"), "/image/a%20b?x=%C3%BC")]


def test_redirects_are_followed_and_checked_each(fetching: Fetching, png: bytes) -> None:
    fetcher, base, resolver = fetching()
    assert fetcher(f"{base}/to/|image") == png
    assert resolver.hosts == ["public.example"] * 2
    assert fails(fetcher, f"{base}/to/http:||inside.example|image") == "address_refused"
    assert resolver.hosts[-1] == "inside.example"
    assert fails(fetcher, f"{base}/to/file:||etc|passwd") == "invalid_url"
    assert fails(fetcher, f"{base}/to/ftp:||public.example|") == "invalid_url"
    assert fails(fetcher, f"{base}/to/http:||public.example:22|") == "address_refused"


def test_redirects_have_an_end(fetching: Fetching, png: bytes) -> None:
    fetcher, base, _ = fetching()
    assert fetcher(f"{base}/hops/{fetch.MOST_REDIRECTS}") == png
    Answers.seen.clear()
    for endless in ("nowhere", f"hops/{fetch.MOST_REDIRECTS + 1}"):
        assert fails(fetcher, f"{base}/{endless}") == "fetch_failed"
    assert len(Answers.seen) == 2 * (fetch.MOST_REDIRECTS + 1)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("status/404", "fetch_failed"),
        ("status/204", "fetch_failed"),
        ("status/500", "fetch_failed"),
        ("status/304", "fetch_failed"),
        ("large/1000001", "image_too_large"),
        ("endless", "image_too_large"),
        ("short", "fetch_failed"),
        ("packed", "fetch_failed"),
        ("nonsense", "fetch_failed"),
    ],
)
def test_servers_that_do_not_give_an_image(fetching: Fetching, path: str, code: str) -> None:
    fetcher, base, _ = fetching()
    assert fails(fetcher, f"{base}/{path}") == code


@pytest.mark.parametrize("path", ["drip", "silent"])
def test_time_is_that_of_the_whole_and_not_of_each_byte(fetching: Fetching, path: str) -> None:
    fetcher, base, _ = fetching(seconds=0.4)
    assert fails(fetcher, f"{base}/{path}") == "fetch_timed_out"


def test_hosts_that_are_not_there(fetching: Fetching) -> None:
    fetcher, base, _ = fetching()
    assert fails(fetcher, base.replace("public.example", "nobody.example")) == "fetch_failed"
    assert fails(fetcher, "http://public.example/") == "fetch_failed"  # nothing listens on port 80


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of public.example that only this test trusts, with its key."""
    pytest.importorskip("cryptography")
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "public.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("public.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, form, plain) + made.public_bytes(pem))
    return path


def test_encrypted_connections_ask_for_the_name_and_not_for_the_address(
    certificate: Path, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    Answers.content = png
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        resolver = Asked(public_example=["127.0.0.1"], wrong_example=["127.0.0.1"])
        fetcher = Fetcher(10**6, 20.0, (port,), Lookups(resolver), lambda _: True)
        url = f"https://public.example:{port}"
        assert fails(fetcher, f"{url}/image") == "fetch_failed"  # nobody vouches for it
        monkeypatch.setattr(fetch, "_trusting", lambda: ssl.create_default_context(cafile=certificate))
        assert fetcher(f"{url}/image") == png
        assert fails(fetcher, f"https://wrong.example:{port}/image") == "fetch_failed"
        assert fails(fetcher, f"{url}/to/http:||public.example|") == "fetch_failed"  # no way back to http
        server.shutdown()


class TestRequests:
    @pytest.fixture
    def client(self, start: Start, fetching: Fetching) -> Iterator[TestClient]:
        fetcher, _, _ = fetching()
        with start(fetcher=fetcher, allow_fetch=True, max_body=10**6) as client:
            yield client

    def test_urls_are_refused_unless_allowed(self, start: Start) -> None:
        with start() as client:
            answer = client.post("/v1/score", json={"images": [{"url": "http://public.example/x.png"}]})
            assert error_of(answer) == (403, "fetch_not_allowed")
            assert answer.json()["error"]["field"] == "images[0].url"
            assert service_in(client).fetching is None

    def test_fetched_images_score_like_others(
        self, client: TestClient, fetching: Fetching, png: bytes
    ) -> None:
        _, base, _ = fetching()
        entries = [{"url": f"{base}/image", "name": "a"}, {"url": f"{base}/status/404"}, {"url": "file:///x"}]
        answer = client.post("/v1/score", json={"images": entries}).json()
        codes = [row.get("error", {}).get("code") for row in answer["results"]]
        assert codes == [None, "fetch_failed", "invalid_url"]
        sent = client.post("/v1/score", files=[("image", ("a", png))]).json()
        assert answer["results"][0] == sent["results"][0]

    def test_an_inner_address_is_a_typed_error(self, client: TestClient) -> None:
        answer = client.post("/v1/score", json={"images": [{"url": "http://inside.example/"}]})
        assert error_of(answer) == (403, "address_refused")
        assert "10.0.0.1" not in answer.text

    def test_all_of_a_request_is_bounded(self, client: TestClient, fetching: Fetching) -> None:
        _, base, _ = fetching()
        entries = [{"url": f"{base}/large/400000"}] * 4
        answer = client.post("/v1/score", json={"images": entries})
        codes = [row["error"]["code"] for row in answer.json()["results"]]
        assert sorted(codes) == ["image_too_large", "image_too_large", "not_an_image", "not_an_image"]
        assert service_in(client).budget.used == 0

    def test_all_requests_together_are_bounded(self, client: TestClient, fetching: Fetching) -> None:
        _, base, _ = fetching()
        budget = service_in(client).budget
        spare = service_in(client).settings.max_held - 300_000
        budget.take(spare)
        answer = client.post("/v1/score", json={"images": [{"url": f"{base}/large/400000"}]})
        assert error_of(answer) == (429, "too_busy")
        assert budget.used == spare
        budget.give_back(spare)

    def test_names_that_hang_keep_nobody_else_waiting(
        self, start: Start, fetching: Fetching, other: http.server.ThreadingHTTPServer
    ) -> None:
        fetcher, base, _ = fetching(seconds=0.3)
        released = threading.Event()

        def resolver(host: str, _: int) -> list[str]:
            assert host == "public.example" or released.wait(60)
            return ["127.0.0.1"]

        hanging = dataclasses.replace(fetcher, lookups=Lookups(resolver))
        with start(fetcher=hanging, allow_fetch=True, fetch_workers=1) as client:
            for number in range(3):
                url = f"http://slow-{number}.example/"
                answer = client.post("/v1/score", json={"images": [{"url": url}]})
                assert error_of(answer) == (422, "fetch_timed_out")
            answer = client.post("/v1/score", json={"images": [{"url": f"{base}/image"}]})
            assert answer.status_code == 200
            released.set()


def test_a_name_is_waited_for_no_longer_than_told() -> None:
    released = threading.Event()

    def resolver(host: str, _: int) -> list[str]:
        assert released.wait(60)
        return [host]

    lookups = Lookups(resolver, most=2)
    before = threading.active_count()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            lookups("a", 80, 0.05)
    # However many ask: no more threads hang than there are places.
    assert threading.active_count() - before == 2
    released.set()
    wait_until(lambda: threading.active_count() == before)
    assert lookups("b", 80, 60) == ["b"]


def test_what_a_resolver_raises_is_raised() -> None:
    with pytest.raises(OSError, match="no such host"):
        Lookups(Asked())("a", 80, 60)


class Endless:
    """Gives images of 16 parts, and knows how many bytes of them there are."""

    def __init__(self) -> None:
        self.kept = self.most = 0
        self.lock = threading.Lock()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.begun = threading.Semaphore(0)

    def __call__(self, url: str, count: Callable[[int], None]) -> bytes:
        own = 0
        try:
            for _ in range(16):
                count(1000)
                own += 1000
                self._keep(1000)
                self.begun.release()
                assert self.may_go_on.wait(60)
            return bytes(own)
        except ServiceError:
            self._keep(-own)
            raise

    def _keep(self, count: int) -> None:
        with self.lock:
            self.kept += count
            self.most = max(self.most, self.kept)


@pytest.fixture
def pool() -> Iterator[Pool[bytes]]:
    made: Pool[bytes] = Pool("test", workers=4, capacity=64)
    yield made
    assert made.close(30)


def test_what_is_fetched_is_counted_while_it_comes(pool: Pool[bytes]) -> None:
    endless: Any = Endless()
    budget = Budget(10**6, lambda: 1.0)
    items = [Item(str(number), None, url="http://a.example/") for number in range(32)]

    async def ask() -> list[Item]:
        with budget.hold() as held:
            found = await fetched(items, endless, pool, held, most=100_000)
            assert budget.used == held.count == endless.kept
            return found

    found = asyncio.run(ask())
    assert sum(len(item.data or b"") for item in found) == 6 * 16_000  # no seventh has room
    assert {item.error.code for item in found if item.error} == {"image_too_large"}
    assert endless.most <= 100_000
    assert budget.used == 0


def test_what_nobody_waits_for_is_counted_until_it_is_gone(pool: Pool[bytes]) -> None:
    endless: Any = Endless()
    endless.may_go_on.clear()
    budget = Budget(10**6, lambda: 1.0)

    async def ask() -> None:
        with budget.hold() as held:
            work = asyncio.ensure_future(
                fetched([Item("a", None, url="http://a.example/")], endless, pool, held, most=10**6)
            )
            await asyncio.to_thread(endless.begun.acquire)
            work.cancel()

    asyncio.run(ask())
    assert budget.used == 1000, "the thread has them still"
    endless.may_go_on.set()
    wait_until(lambda: pool.depth == 0)
    assert budget.used == endless.kept == 0
