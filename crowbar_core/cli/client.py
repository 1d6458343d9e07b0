"""A small client of the REST API: credentials, pages, retries of what may be asked twice, clear errors."""

from __future__ import annotations

import json
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from crowbar_core.cli.errors import ApiError, Unreachable
from crowbar_core.cli.http import Connection, Late, Response
from crowbar_core.cli.profiles import Target
from crowbar_core.errors import BadInput, FieldError

ROOT = "api/v2"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
TRIES = 4
LONGEST_PAUSE = 5.0
PAGE = 1000
"""As much of a list as the server gives at once."""


class Client:
    """One session with one server. Raises ``ApiError`` when it refuses, ``Unreachable`` when it does not answer."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._headers = {"Accept": "application/json, application/problem+json", "User-Agent": "crowbar"}
        if target.token:
            self._headers["Authorization"] = f"Bearer {target.token}"
        elif target.user:
            who = b64encode(f"{target.user}:{target.password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {who}"
        # A proxy of the environment has no business between us and this machine.
        near = urlsplit(target.url).hostname in ("127.0.0.1", "::1", "localhost")
        self._connection = Connection(
            target.url, verify=target.verify, direct=target.direct or near, connect_seconds=CONNECT_SECONDS,
            seconds=ANSWER_SECONDS,
        )  # fmt: skip

    def close(self) -> None:
        self._connection.close()

    def get(self, *path: str | int, query: Mapping[str, Any] | None = None, accept: Sequence[int] = ()) -> Any:
        """What is at ``path``, whose parts follow ``/api/v2/``: ``get("nodes", "web1")``. ``accept`` names error
        statuses whose body is an answer, not a problem.
        """
        return self._body(self._request("GET", self._url(path), query=query, accept=accept))

    def rows(
        self, *path: str | int, query: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """All objects of a collection, page by page, at most ``limit``."""
        left = limit
        url = self._url(path)
        asked: Mapping[str, Any] | None = {**(query or {}), "limit": min(PAGE, left or PAGE)}
        while True:
            response = self._request("GET", url, query=asked)
            page = self._body(response)
            if not isinstance(page, list) or not all(isinstance(row, dict) for row in page):
                raise Unreachable(f"What answers at {self.target.url} is no Crowbar server: a list was expected.")
            for row in page:
                yield row
                if left is not None:
                    left -= 1
                    if left == 0:
                        return
            following = response.following
            if not following or not page:
                return
            url, asked = urljoin(response.url, following), None
            if urlsplit(url)[:2] != urlsplit(response.url)[:2]:
                raise Unreachable(f"The server at {self.target.url} sends its next page to another server, {url}.")

    def post(self, *path: str | int, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """As ``get``; ``body`` is sent as JSON: ``post("groups", body={"name": "rack-2"})``."""
        return self._body(self._request("POST", self._url(path), body={} if body is None else body, query=query))

    def put(self, *path: str | int, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """As ``post``."""
        return self._body(self._request("PUT", self._url(path), body={} if body is None else body, query=query))

    def patch(self, *path: str | int, body: Any, query: Mapping[str, Any] | None = None) -> Any:
        """As ``post``: the fields that change."""
        return self._body(self._request("PATCH", self._url(path), body=body, query=query))

    def delete(self, *path: str | int, query: Mapping[str, Any] | None = None) -> Any:
        """As ``get``; what is at ``path`` goes, without a question."""
        return self._body(self._request("DELETE", self._url(path), query=query))

    def status(
        self, *path: str | int, query: Mapping[str, Any] | None = None, accept: Sequence[int] = ()
    ) -> tuple[int, Any]:
        """The HTTP status too, for the questions whose answer it is (``anneal``)."""
        response = self._request("GET", self._url(path), query=query, accept=accept)
        return response.status_code, self._body(response)

    def outside(self, *path: str, accept: Sequence[int] = ()) -> tuple[int, Any]:
        """Like ``status``, for what lies outside /api/v2 (``readyz``)."""
        response = self._request("GET", "/".join((self.target.url, *path)), accept=accept)
        return response.status_code, self._body(response)

    def _url(self, path: Sequence[str | int]) -> str:
        return "/".join((self.target.url, ROOT, *(segment(part) for part in path)))

    def _request(
        self,
        method: str,
        url: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        accept: Sequence[int] = (),
    ) -> Response:
        asked = urlencode({key: value for key, value in (query or {}).items() if value is not None}, doseq=True)
        url = f"{url}{'&' if '?' in url else '?'}{asked}" if asked else url
        data = None if body is None else _encode(body)
        headers = self._headers if data is None else {**self._headers, "Content-Type": "application/json"}
        tries = TRIES if method == "GET" else 1
        for left in reversed(range(tries)):
            pause = min(0.1 * 2 ** (tries - left), LONGEST_PAUSE)
            try:
                response = self._connection.request(method, url, body=data, headers=headers)
            except ssl.SSLError as error:
                raise Unreachable(
                    f"The server at {self.target.url} cannot be trusted ({_reason(error)}). "
                    "Give its authority with --ca-file."
                ) from error
            except ValueError as error:
                raise Unreachable(f"The request to {self.target.url} cannot be made: {_reason(error)}.") from error
            except (OSError, HTTPException) as error:
                if left and not isinstance(error, Late):
                    time.sleep(pause)
                    continue
                raise Unreachable(
                    f"No server answers at {self.target.url} ({_reason(error)}). "
                    "Start one with `crowbar serve`, or give --url."
                ) from error
            if response.status_code == 503 and left and response.status_code not in accept:
                time.sleep(min(_seconds(response.headers.get("Retry-After"), pause), LONGEST_PAUSE))
                continue
            if response.status_code >= 300 and response.status_code not in accept:
                raise _problem(response, self.target)
            return response
        raise AssertionError("the last try returns or raises")

    def _body(self, response: Response) -> Any:
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise Unreachable(
                f"What answers at {self.target.url} is no Crowbar server: it does not speak JSON."
            ) from error


def segment(part: str | int) -> str:
    """One part of a path. Raises ``BadInput`` for what no path can carry."""
    text = str(part)
    if text in ("", ".", ".."):
        raise BadInput(f"{text!r} is no name: give a name or an id.")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise BadInput("A name must be valid UTF-8.") from error


def _encode(body: Any) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise BadInput("A value must be valid UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise BadInput("A value must be JSON: no NaN, no infinity, and not nested without end.") from error


def _problem(response: Response, target: Target) -> ApiError | Unreachable:
    """The server's refusal in its own words, as far as it has some."""
    status = response.status_code
    try:
        problem = response.json()
    except ValueError:
        problem = None
    problem = problem if isinstance(problem, dict) else {}
    detail = str(problem.get("detail") or problem.get("title") or "").strip()
    if status < 400:
        where = response.headers.get("Location", "nowhere")
        detail = f"The server at {target.url} sends us elsewhere, to {where}: give that as --url."
    elif not detail:
        known = {
            400: "the request is malformed",
            404: "there is nothing of that name",
            413: "the request is too large",
            414: "a name is too long",
        }
        what = known.get(status, (response.reason or "no reason given").lower())
        detail = f"The server at {target.url} answered {status}: {what}."
    if status == 401:
        who = "was not accepted" if target.token or target.user else "is missing"
        detail = f"{detail.rstrip('.')}. The token or password {who}: use `crowbar login`, --token or --user."
    if status in (502, 503, 504):
        return Unreachable(detail)
    errors = [
        FieldError(pointer=str(item.get("pointer", "")), detail=str(item.get("detail", "")))
        for item in problem.get("errors") or ()
        if isinstance(item, dict)
    ]
    return ApiError(detail, answer=status, problem=str(problem.get("code", "")), errors=errors)


def _reason(error: BaseException) -> str:
    """The error in few words, without what it says of the values that were to be sent."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, UnicodeError) or str(error).startswith("Invalid header"):
        return "the token holds what no header can carry"
    text = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
    return text[:200].strip(" .").lower() or type(error).__name__


def _seconds(text: str | None, default: float) -> float:
    try:
        return max(0.0, float(text)) if text else default
    except ValueError:
        return default
