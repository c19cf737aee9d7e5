"""Who may look at the page, and who may change the run."""

import hashlib
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Flask, Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# A question to the page is short; what is longer is not one.
_MAX_REQUEST_BYTES = 1 << 20


def is_loopback(host: str) -> bool:
    """Whether an address that is listened on can be reached from this machine alone."""
    return host in _LOOPBACK


class Guard:
    """Stands before every request.

    - A request must name this server as its host: a page elsewhere whose name was made to lead here is refused.
    - Listening on another address than loopback, everything needs the token. On loopback, looking needs none.
    - A change needs the token, and a request of this page's own making.
    - The token comes once by the link (`?token=…`), and stays in a cookie that scripts and other sites cannot use.
    - Scripts, styles and pictures come from here; scripts that are written into the page are refused but for those
      whose hashes are given.

    Args:
        host: what is listened on.
        names: other names by which people reach it.
    """

    def __init__(self, token: str, host: str, names: Sequence[str] = ()) -> None:
        self._token = token
        # Cookies know hosts and not ports: several runs on one machine have one each.
        self._cookie = f"sr-real-{hashlib.sha256(token.encode()).hexdigest()[:8]}"
        self._is_open = is_loopback(host)
        self._names = {host, *names} | (set(_LOOPBACK) if self._is_open else set())
        # Listening on every address, and told no name, it cannot know by which it is reached; the token guards it.
        self._anywhere = host in ("0.0.0.0", "::") and not names

    def protect(self, server: Flask, script_hashes: Sequence[str]) -> None:
        """Put the guard before every route of `server`, now and later."""
        server.config["MAX_CONTENT_LENGTH"] = _MAX_REQUEST_BYTES
        policy = _content_policy(script_hashes)

        @server.before_request
        def check() -> AnyResponse | None:
            if not self._anywhere and urlsplit(f"//{request.host}").hostname not in self._names:
                abort(HTTPStatus.MISDIRECTED_REQUEST, "this is not the host that was asked for")
            if request.method == "GET" and "token" in request.args:
                return self._let_in(request.args["token"])
            if not self._is_open and not self._has_token():
                abort(HTTPStatus.UNAUTHORIZED, "open the page by the link that the run showed when it began")
            if request.method not in ("GET", "HEAD") and not _is_same_site():
                abort(HTTPStatus.FORBIDDEN, "this request comes from another page")
            return None

        @server.after_request
        def seal(response: Response) -> Response:
            response.headers.update(policy)
            return response

    def may_change(self) -> bool:
        """Whether the present request has the token."""
        return self._has_token()

    def _let_in(self, token: str) -> AnyResponse:
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            abort(HTTPStatus.UNAUTHORIZED, "this is not the run's token")
        # Without the token in it: it would stay in the browser's history.
        response = redirect("/", HTTPStatus.SEE_OTHER)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict")
        return response

    def _has_token(self) -> bool:
        return secrets.compare_digest(request.cookies.get(self._cookie, "").encode(), self._token.encode())


def _is_same_site() -> bool:
    """Browsers say where a request comes from; what does not say it is not a browser, and has no cookies of one."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None and site != "same-origin":
        return False
    return origin is None or urlsplit(origin).netloc == request.host


def _content_policy(script_hashes: Sequence[str]) -> dict[str, str]:
    scripts = " ".join(["'self'", *script_hashes])
    rules = (
        "default-src 'none'",
        f"script-src {scripts}",
        # The libraries of the page set styles from scripts.
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(rules),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
