"""The sockets that the service listens on: TCP, the proxy's own, and the users'.

A unix socket lies where nobody else can put another one in its place, and nobody whom its mode
would not let in can connect to it at any moment.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from typing import TYPE_CHECKING

from moonlight_core.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

BACKLOG = 1024


def on_tcp(host: str, port: int) -> list[socket.socket]:
    """Sockets on every address that a host name has.

    Raises:
        OSError: one cannot be listened on; ``filename`` names it.
    """
    found = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
    )
    listeners: list[socket.socket] = []
    for family, kind, protocol, _, address in found:
        listener = socket.socket(family, kind, protocol)
        listeners.append(listener)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
            listener.settimeout(0)
        except OSError as exc:
            for opened in listeners:
                opened.close()
            raise OSError(exc.errno, exc.strerror, f"{host}:{port}") from exc
    return listeners


def for_proxy(path: Path, group: str) -> socket.socket:
    """A unix socket that its owner and a group may connect to.

    Raises:
        OSError: it cannot be listened on; ``filename`` names it.
        SettingsError: its directory or the group will not do.
    """
    try:
        gid = grp.getgrnam(group).gr_gid if group else -1
    except KeyError:
        raise SettingsError([f"[service] socket_group: there is no group {group!r}."]) from None
    return _unix("socket", path, gid, 0o660 if group else 0o600)


def for_users(path: Path) -> socket.socket:
    """A unix socket that everybody on this host may connect to, each as who she is.

    Raises:
        OSError: it cannot be listened on; ``filename`` names it.
        SettingsError: its directory will not do.
    """
    return _unix("users_socket", path, -1, 0o666)


def _unix(setting: str, path: Path, gid: int, mode: int) -> socket.socket:
    try:
        parent = path.parent.stat()
    except FileNotFoundError:
        raise SettingsError([f"[service] {setting}: {path.parent} does not exist."]) from None
    if parent.st_uid not in (0, os.geteuid()) or parent.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        told = f"[service] {setting}: others can put a socket of their own into {path.parent}"
        raise SettingsError([f"{told}: it must belong to root or to us, and chmod go-w."])
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        mask = os.umask(0o777)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        os.chown(path, -1, gid)
        path.chmod(mode)
        listener.listen(BACKLOG)
        listener.settimeout(0)
    except OSError as exc:
        listener.close()
        raise OSError(exc.errno, exc.strerror, str(path)) from exc
    return listener


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more.

    Raises:
        OSError: somebody does, or it is no socket.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "something that is no socket is there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
