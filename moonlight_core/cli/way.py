"""What commands do with sessions, whichever way: by the library, or through the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from moonlight_core.models import PairedClient, Pairing, Session
    from moonlight_core.pairing import PinOffer
    from moonlight_core.pictures import Picture
    from moonlight_core.session_log import SessionLog
    from moonlight_core.site_view import CatalogueEntry


class Sessions(Protocol):
    """The part of ``SessionManager`` that ``moonlight_http.client.ServiceClient`` has as well."""

    def create(self, user: str, image_id: str | None = None, **resources: Any) -> Session:
        """See ``SessionManager.create``."""

    def get(self, session_id: str) -> Session:
        """See ``SessionManager.get``."""

    def delete(self, session_id: str) -> Session:
        """See ``SessionManager.delete``."""

    def wait(
        self,
        session_id: str,
        *,
        status: str = ...,
        timeout_s: float = ...,
        progress: Callable[[Session], None] | None = ...,
    ) -> Session:
        """See ``SessionManager.wait``."""

    def log(self, session_id: str, *, tail: int = ...) -> SessionLog:
        """See ``SessionManager.log``."""

    def screenshot(self, session_id: str) -> Picture:
        """See ``SessionManager.screenshot``."""

    def pair(
        self,
        session_id: str,
        *,
        pin: str | None = ...,
        name: str = ...,
        show_pin: Callable[[PinOffer], object] | None = ...,
    ) -> Pairing:
        """See ``SessionManager.pair``."""

    def clients(self, session_id: str) -> Sequence[PairedClient]:
        """See ``SessionManager.clients``."""

    def catalogue(self, user: str | None = ...) -> Sequence[CatalogueEntry]:
        """See ``SessionManager.catalogue``."""

    def list(self, *, user: str | None = ...) -> Sequence[Session]:
        """See ``SessionManager.list``."""
