"""A person at the pages, for tests: signed in with a session, sending forms as a browser without JavaScript does."""

from __future__ import annotations

import re
from html import unescape

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Browser:
    """``page`` is the text of the page that was shown last, ``status`` its status."""

    def __init__(self, client: FlaskClient, name: str, password: str) -> None:
        self._client = client
        self.page, self.status = "", 0
        self.open("/login")
        self.send("/login", name=name, password=password)

    def open(self, path: str) -> str:
        """Go to a page; its text."""
        return self._shown(self._client.get(path, follow_redirects=True))

    def send(self, path: str, **fields: str) -> str:
        """Send a form, with the CSRF token of the page that was shown last; the text of the page that comes then."""
        token = _TOKEN.search(self.page)
        form = {"csrf_token": unescape(token[1]) if token else "", **fields}
        return self._shown(self._client.post(path, data=form, follow_redirects=True))

    def _shown(self, answer: TestResponse) -> str:
        self.page, self.status = answer.get_data(as_text=True), answer.status_code
        return self.page
