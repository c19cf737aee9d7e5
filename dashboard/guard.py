"""Who may look at the page, and who may change the run."""

import hashlib
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Flask, Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Requests of the page are short.
_MAX_REQUEST_BYTES = 1 << 20


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    return host in _LOOPBACK


class Guard:
    """Checks every request.

    - A request must name this server as its host. This refuses pages elsewhere whose host name was made to resolve to
      this server (DNS rebinding).
    - On any address but loopback, every request needs the token. On loopback, reading needs none.
    - A change needs the token, and must come from this page itself.
    - The token arrives once in the link (`?token=…`), then stays in a cookie that scripts and other sites cannot use.
    - Scripts, styles and pictures come from this server only; inline scripts are refused unless their hash is given.

    Args:
        host: the address to listen on.
        names: other host names that reach the page.
    """

    def __init__(self, token: str, host: str, names: Sequence[str] = ()) -> None:
        self._token = token
        # Cookies do not distinguish ports, so each run on a machine has its own cookie name.
        self._cookie = f"sr-real-{hashlib.sha256(token.encode()).hexdigest()[:8]}"
        self._is_open = is_loopback(host)
        self._names = {host, *names} | (set(_LOOPBACK) if self._is_open else set())
        # When listening on every address without given names, any host name may be right; the token protects the page.
        self._anywhere = host in ("0.0.0.0", "::") and not names

    def protect(self, server: Flask, script_hashes: Sequence[str]) -> None:
        """Check requests to every route of `server`, including those added later."""
        server.config["MAX_CONTENT_LENGTH"] = _MAX_REQUEST_BYTES
        policy = _content_policy(script_hashes)

        @server.before_request
        def check() -> AnyResponse | None:
            if not self._anywhere and urlsplit(f"//{request.host}").hostname not in self._names:
                abort(
                    HTTPStatus.MISDIRECTED_REQUEST,
                    "the page has another host name (dashboard.names adds names)",
                )
            if request.method == "GET" and "token" in request.args:
                return self._let_in(request.args["token"])
            if not self._is_open and not self._has_token():
                abort(HTTPStatus.UNAUTHORIZED, "open the page with the link that the run printed when it started")
            if request.method not in ("GET", "HEAD") and not _is_same_site():
                abort(HTTPStatus.FORBIDDEN, "the request comes from another page")
            return None

        @server.after_request
        def seal(response: Response) -> Response:
            response.headers.update(policy)
            return response

    def may_change(self) -> bool:
        """Whether the current request carries the token."""
        return self._has_token()

    def _let_in(self, token: str) -> AnyResponse:
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            abort(HTTPStatus.UNAUTHORIZED, "the token is not this run's")
        # Redirect to an address without the token, so that it does not stay in the browser's history.
        response = redirect("/", HTTPStatus.SEE_OTHER)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict")
        return response

    def _has_token(self) -> bool:
        return secrets.compare_digest(request.cookies.get(self._cookie, "").encode(), self._token.encode())


def _is_same_site() -> bool:
    """Browsers state where a request comes from. A client that does not is no browser and has no cookies."""
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
        # The page's libraries set styles from scripts.
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
