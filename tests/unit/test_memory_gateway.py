"""The gateway in memory keeps the contract."""

from __future__ import annotations

from gateway_contract import GatewayContract


class TestMemoryGateway(GatewayContract):
    """With the fixture of tests/conftest.py."""
