"""Fixtures for the tests of the backbones."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to look up or reach another machine fails."""
    import socket

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"network touched: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
