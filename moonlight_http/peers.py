"""Who is at the other end of a connection: an address, and on this host also an account.

An address cannot tell the site's proxy from any other program on the proxy's host, and on a head
node everybody has programs. The kernel can: of a unix socket it tells the account that connected
(``SO_PEERCRED``, unix(7)), of a TCP connection within the host the account that owns the other end
(sock_diag(7), as ``ss -e`` shows it).
"""

from __future__ import annotations

import functools
import ipaddress
import os
import pwd
import socket
import struct
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
UNIX = "unix"
"""What stands in ``REMOTE_ADDR`` of a request that came over the proxy's unix socket."""
USERS = "users"
"""The same for the users' socket, over which nobody is a proxy."""
PEER_UID = "moonlight.peer_uid"
"""The key of the WSGI environment with the account at the other end; None if it is unknown."""

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_HEADER = struct.Struct("=IHHII")
_ANY_INTERFACE_AND_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_EVERY_STATE = 0xFFFFFFFF
_OWNER = struct.Struct("=II")
_OWNER_OFFSET = _HEADER.size + 4 + 48 + 12
_ANSWER_TIMEOUT_S = 1.0


def peer_uid(connection: socket.socket) -> int | None:
    """The account at the other end of a connection, if that is on this host and can be known."""
    try:
        if connection.family == socket.AF_UNIX:
            credentials = connection.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII")
            )
            return int(struct.unpack("iII", credentials)[1])
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            return _owner(connection.family, connection.getpeername(), connection.getsockname())
    except (OSError, struct.error):
        return None
    return None


def accounts_are_told() -> bool:
    """Whether the kernel tells us who owns the other end of a TCP connection within the host."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG).close()
    except OSError:
        return False
    return True


def _owner(family: int, of: Any, to: Any) -> int | None:
    """The account that owns the TCP socket with the address ``of``, connected to ``to``."""
    addresses = (socket.inet_pton(family, end[0].partition("%")[0]).ljust(16, b"\0")
                 for end in (of, to))  # fmt: skip
    request = (
        struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _EVERY_STATE)
        + struct.pack("!HH", of[1], to[1])
        + b"".join(addresses)
        + _ANY_INTERFACE_AND_COOKIE
    )
    length = _HEADER.size + len(request)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_ANSWER_TIMEOUT_S)
        kernel.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request)
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    uid, inode = _OWNER.unpack_from(answer, _OWNER_OFFSET)
    # A socket that its program has closed has no owner any more: it would look like root's.
    return uid if inode else None


@attrs.frozen(kw_only=True)
class Proxies:
    """The site's proxies: addresses, and accounts of this host.

    Attributes:
        networks: where they may be.
        uids: accounts that they run as on this host; None when nobody tells accounts, so that
            addresses alone decide.
    """

    networks: tuple[_Network, ...]
    uids: frozenset[int] | None

    @classmethod
    def of(cls, addresses: Collection[str], users: Collection[str], *, accounts: bool) -> Proxies:
        """Proxies by their addresses and account names; accounts that there are not are left out.

        Args:
            addresses: addresses or networks.
            users: account names; root and our own account are always among them.
            accounts: whether the server tells accounts.
        """
        uids = {0, os.geteuid()}
        for name in users:
            try:
                uids.add(pwd.getpwnam(name).pw_uid)
            except KeyError:
                continue
        return cls(
            networks=tuple(ipaddress.ip_network(address, strict=False) for address in addresses),
            uids=frozenset(uids) if accounts else None,
        )

    def trusts(self, address: str, uid: int | None) -> bool:
        """Whether a connection comes from a proxy.

        Args:
            address: the address at the other end, or ``UNIX``.
            uid: the account at the other end, None if it is unknown or elsewhere.
        """
        if address == UNIX:
            return self.uids is not None and uid in self.uids
        inside, loopback = _place(address, self.networks)
        if not inside or self.uids is None:
            return inside
        if uid is None:
            # Somebody on another host; on this one an account was to be known.
            return not loopback
        return uid in self.uids


@functools.lru_cache(maxsize=1024)
def _place(address: str, networks: tuple[_Network, ...]) -> tuple[bool, bool]:
    """Whether an address is in one of the networks, and whether it is this host's own."""
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return False, False
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(peer in network for network in networks), peer.is_loopback
