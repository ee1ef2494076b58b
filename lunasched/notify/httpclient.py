"""The one way to HTTP: a request is posted within a time limit, and its answer is read in words."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from lunasched import __version__
from lunasched.dataclass import dataclass
from lunasched.errors import NotifyError
from lunasched.notify import trust
from lunasched.notify.deadline import Deadline
from lunasched.notify.message.output import subject_line
from lunasched.notify.secrets import hidden, of_url

if TYPE_CHECKING:
    import requests

_ANSWER_MAX = 4096
"""Bytes of an answer that are read."""
_CONNECT_MAX = 10.0
_RETRY_AFTER_MAX = 86400.0
_AGAIN = {408, 425, 429}
"""Statuses of the client's fault that another time makes good."""
_MOVED = {301, 308}


@dataclass(frozen=True, slots=True)
class Post:
    """A request to post; ``secrets`` are not repeated in answers and errors, nor is the URL."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()


def post(request: Post, *, key: str, timeout: float) -> str:
    """Post a request, and return the answer in one line: ``200 OK: accepted``.

    Raises ``NotifyError`` for whatever is no success. Redirects are not followed, for where they
    lead to nobody chose.
    """
    import requests
    import urllib3

    headers = {
        "User-Agent": f"lunasched/{__version__}",
        "Accept-Encoding": "identity",  # an upper bound for the answer
        "Idempotency-Key": key,
        **request.headers,
    }
    host = urlsplit(request.url).hostname
    with Deadline(timeout) as deadline, _session(deadline) as session:
        try:
            response = session.post(
                request.url,
                data=request.body,
                headers=headers,
                auth=_authorization(request.url),
                timeout=(min(timeout, _CONNECT_MAX), timeout),
                verify=trust.system_certificates() or True,
                allow_redirects=False,
                stream=True,
            )
            text = _beginning(response)
        except (
            requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException,
            OSError, ValueError, AttributeError,
        ) as error:  # fmt: skip
            # AttributeError: a connection that the deadline ended in the middle of a call.
            if deadline.is_over:
                raise _no_answer(host, timeout) from None
            if isinstance(error, AttributeError):
                raise
            # Exceptions of requests have the URL in their texts.
            failure = _failed(host, error, timeout)
            failure.unreachable = not failure.permanent
            raise failure from None
    return _judged(response, text, (*request.secrets, *of_url(request.url)))


def _session(deadline: Deadline) -> requests.Session:
    """A session without retries, whose connections the deadline ends."""
    import requests

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _adapter(deadline))
    return session


def _adapter(deadline: Deadline) -> Any:
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class WatchedConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            made = super()._new_conn()
            deadline.watch(made)
            return made

    class WatchedSecureConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            made = super()._new_conn()
            deadline.watch(made)
            return made

    class Pool(HTTPConnectionPool):
        ConnectionCls = WatchedConnection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = WatchedSecureConnection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
            super().init_poolmanager(*arguments, **named)
            self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}

        def proxy_manager_for(self, *arguments: Any, **named: Any) -> Any:
            manager = super().proxy_manager_for(*arguments, **named)
            manager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}
            return manager

    return Adapter(max_retries=0)


def _authorization(url: str) -> Any:
    """The name and password of a URL. Otherwise nothing: requests would look into ``.netrc``."""
    from requests.auth import HTTPBasicAuth

    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return lambda request: request
    return HTTPBasicAuth(unquote(parts.username or ""), unquote(parts.password or ""))


def _beginning(response: Any) -> str:
    """The beginning of an answer; what went wrong after its status does not matter."""
    import urllib3

    try:
        content = response.raw.read(_ANSWER_MAX, decode_content=False)
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError):
        return ""
    finally:
        response.close()
    return bytes(content).decode("utf-8", "replace")


def _judged(response: Any, text: str, secrets: tuple[str, ...]) -> str:
    status = response.status_code
    answer = hidden(f"{status} {response.reason or ''}".strip(), secrets)
    said = hidden(subject_line(text, 1000), secrets)
    answer = subject_line(f"{answer}: {said}" if said else answer, 300)
    if 200 <= status < 300:
        return answer
    if 300 <= status < 400:
        to = urlsplit(response.headers.get("Location", "")).hostname
        where = f" to {subject_line(to, 100)}" if to else ""
        raise NotifyError(
            f"the server answers {status}, a redirect{where}; set the URL that it redirects to",
            permanent=status in _MOVED,
        )
    again = status >= 500 or status < 200 or status in _AGAIN
    wait = retry_after(response.headers.get("Retry-After"), time.time()) if again else None
    raise NotifyError(f"the server answers {answer}", permanent=not again, retry_after=wait)


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds from a header ``Retry-After`` (RFC 9110): a number, or a date; a day at most."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    if seconds != seconds:  # NaN
        return None
    return min(max(seconds, 0.0), _RETRY_AFTER_MAX)


def _no_answer(host: str | None, timeout: float) -> NotifyError:
    return NotifyError(f"{host}: no answer within {timeout:g} s", unreachable=True)


def _failed(host: str | None, error: BaseException, timeout: float) -> NotifyError:
    """Return the error in words, by the first cause that has words for it."""
    import requests
    import urllib3

    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return NotifyError(f"{host}: the URL cannot be used", permanent=True)
    if isinstance(error, requests.ConnectTimeout):
        return NotifyError(f"{host}: no connection within {min(timeout, _CONNECT_MAX):g} s")
    if isinstance(error, requests.exceptions.ProxyError):
        host = f"{host}, by the proxy"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return NotifyError(f"{host}: {trust.refused(cause)}")
        if type(cause).__name__ == "CertificateError":  # urllib3 1.26 compares names itself
            return NotifyError(
                f"{host}: its certificate is not trusted: {subject_line(str(cause), 200)}"
            )
        if isinstance(cause, socket.gaierror):
            return NotifyError(f"{host}: its name cannot be resolved: {cause.strerror}")
        if isinstance(cause, TimeoutError):
            return _no_answer(host, timeout)
        if isinstance(cause, http.client.RemoteDisconnected):
            return NotifyError(f"{host}: it closed the connection without an answer")
        if isinstance(cause, (http.client.HTTPException, urllib3.exceptions.InvalidHeader)):
            return NotifyError(f"{host}: the answer is not HTTP")
        if isinstance(cause, OSError) and cause.strerror:
            return NotifyError(f"{host}: {cause.strerror}")
    if isinstance(error, requests.Timeout):
        return _no_answer(host, timeout)
    return NotifyError(f"{host}: the connection failed ({type(error).__name__})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was made of, the innermost first."""
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            waiting += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
    yield from reversed(seen)
