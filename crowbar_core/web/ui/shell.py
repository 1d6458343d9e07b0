"""What all pages share: the blueprint, the frame, live regions, actions, messages, and the glyphs of states."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, flash, make_response, redirect, render_template, request
from flask.sansio.blueprints import BlueprintSetupState
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup, escape
from pydantic import BaseModel
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import NavItem
from crowbar_core.domain.names import some
from crowbar_core.domain.states import NodeState, State
from crowbar_core.errors import BadInput, CrowbarError, NotFound
from crowbar_core.services.turns.turn import Actor
from crowbar_core.services.watch import settling
from crowbar_core.services.watch.health import gather
from crowbar_core.store.listing import ID_MAX
from crowbar_core.web import auth
from crowbar_core.web.api import strict

T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)

ui = Blueprint("ui", __name__, template_folder="templates", static_folder="static", static_url_path="/static")

NAV: tuple[tuple[str, tuple[NavItem, ...]], ...] = (
    (
        "",
        (
            NavItem(label="Dashboard", url="/"),
            NavItem(label="Nodes", url="/nodes"),
            NavItem(label="Deployments", url="/deployments"),
            NavItem(label="Noderoles", url="/noderoles"),
            NavItem(label="Annealer", url="/annealer"),
            NavItem(label="Runs", url="/runs"),
            NavItem(label="Processes", url="/processes"),
        ),
    ),
    (
        "Catalogue",
        (
            NavItem(label="Roles", url="/roles"),
            NavItem(label="Barclamps", url="/barclamps"),
            NavItem(label="REST API", url="/api/docs"),
        ),
    ),
    (
        "History",
        (
            NavItem(label="Events", url="/events"),
            NavItem(label="Audit", url="/audit"),
            NavItem(label="Users and tokens", url="/users"),
        ),
    ),
)

GLYPHS: Mapping[str, str] = {
    "active": "✓",
    "todo": "○",
    "transition": "◐",
    "blocked": "⊘",
    "proposed": "◇",
    "error": "✕",
    "queued": "○",
    "running": "◐",
    "cancelling": "◑",
    "succeeded": "✓",
    "failed": "✕",
    "cancelled": "□",
    "lost": "⚡",
    "loaded": "✓",
    "disabled": "□",
    "missing": "⊘",
    "done": "✓",
    "waiting": "○",
    "yes": "✓",
    "no": "✕",
    "warning": "▲",
    "committed": "○",
    "alive": "✓",
    "dead": "✕",
    "off": "□",
    "new": "☆",
    "idle": "–",
    "degraded": "✕",
    "fatal": "✕",
}

HEALTH_SECONDS = 3.0
SHOWN_STATES = (State.ERROR, State.TRANSITION, State.TODO, State.BLOCKED, State.PROPOSED, State.ACTIVE)
"""In the order in which an operator wants to hear of them."""
SHOWN_NODE_STATES = (
    NodeState.ERROR,
    NodeState.TRANSITION,
    NodeState.TODO,
    NodeState.PROPOSED,
    NodeState.DEAD,
    NodeState.OFF,
    NodeState.NEW,
    NodeState.IDLE,
    NodeState.ACTIVE,
)

# Colours and cursor movements (CSI, OSC and two-byte escapes), then whatever else is not printable.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


# ---------------------------------------------------------------- showing


def page(template: str, *, live: str = "", status: int = 200, **context: Any) -> Response:
    """A page; or, when htmx asks for it, only its live part, and nothing at all if that is as the browser has it.

    ``template`` and ``live`` without a slash are the core's; a barclamp's are named with their folder.
    """
    pace = "working" if context.setdefault("pulse", pulse()).state == "working" else "quiet"
    if live and request.headers.get("HX-Request"):
        body = render_template(_whole(live), partial=True, **context) + render_template(
            "crowbar/_pulse.html", partial=True, **context
        )
        return _fresh(body, pace)
    answer = make_response(render_template(_whole(template), live=live, partial=False, **context), status)
    answer.headers["Cache-Control"] = "no-store"  # the way back shows what is, not what was
    answer.headers["Vary"] = "HX-Request"
    return answer


def _whole(template: str) -> str:
    return template if "/" in template else f"crowbar/{template}"


def _fresh(body: str, pace: str) -> Response:
    # The token in the forms differs in each answer, which alone is no news.
    seen = hashlib.blake2b(body.replace(generate_csrf(), "").encode(), digest_size=12).hexdigest()
    answer = make_response("", 204) if request.headers.get("Crowbar-Seen") == seen else make_response(body)
    answer.headers["Crowbar-Seen"] = seen
    answer.headers["Crowbar-Pace"] = pace
    answer.headers["Cache-Control"] = "no-store"
    return answer


def pulse() -> settling.Settled:
    return settling.settled(auth.parts())


def ailing() -> bool:
    """Whether something keeps work from being done. Asked at most every ``HEALTH_SECONDS``: it stands on every page."""
    kept: tuple[float, bool] | None = current_app.extensions.get("crowbar-ailing")
    if kept is None or time.monotonic() - kept[0] > HEALTH_SECONDS:
        found = gather(auth.parts()).grade in ("degraded", "fatal")
        kept = current_app.extensions["crowbar-ailing"] = (time.monotonic(), found)
    return kept[1]


def error_page(status: int, title: str, detail: str, errors: Sequence[str] = ()) -> Response:
    """The page for a refusal or a fault, for any blueprint."""
    text = render_template("crowbar/error.html", status=status, title=title, detail=detail, errors=errors)
    return make_response(text, status)


@ui.record_once
def _words(state: BlueprintSetupState) -> None:
    """Known to every template, and to the macros that barclamps import without their context."""
    state.app.jinja_env.globals.update(
        crowbar_nav=_navigation,
        crowbar_identity=auth.current_identity,
        crowbar_ailing=ailing,
        crowbar_may=lambda permission: auth.may(auth.current_identity(), permission),
        crowbar_csrf=generate_csrf,
        glyph=lambda name: GLYPHS.get(str(name).lower(), "·"),
        SHOWN_STATES=SHOWN_STATES,
        SHOWN_NODE_STATES=SHOWN_NODE_STATES,
    )


def _navigation() -> list[tuple[str, list[NavItem]]]:
    """The core's entries, then those of barclamps, in the order they ask for."""
    groups = [(title, list(items)) for title, items in NAV]
    brought = current_app.extensions.get("crowbar-nav")
    if brought is None:  # register_nav is called once: its answer is kept with the application
        brought = current_app.extensions["crowbar-nav"] = auth.parts().registry.nav()
    if brought:
        groups.insert(2, ("Barclamps' pages", brought))
    return groups


@ui.app_template_filter("moment")
def moment(value: datetime | None, how: str = "age") -> Markup | str:
    """A ``<time>``: absolute for everyone; with JavaScript as ``age``, ``since`` or ``until``, or left ``exact``."""
    if value is None:
        return "never"
    value = value.astimezone(UTC)
    shown = value.strftime("%Y-%m-%d %H:%M:%S UTC")
    if how == "clock":
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            value.isoformat(), shown, value.strftime("%H:%M:%S")
        )
    return Markup('<time datetime="{}" data-as="{}">{}</time>').format(value.isoformat(), how, shown)


@ui.app_template_filter("lasted")
def lasted(run: Any) -> str:
    """How long a run took, or has waited when it never started."""
    if run.started_at is None or run.finished_at is None:
        return ""
    seconds = (run.finished_at - run.started_at).total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@ui.app_template_filter("spoken")
def spoken(seconds: float) -> str:
    """An estimate, to the second."""
    whole = max(round(seconds), 1)
    minutes, rest = divmod(whole, 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{whole} s"


ui.app_template_filter("some")(some)


@ui.app_template_filter("dotted")
def dotted(name: str) -> Markup:
    """A node's name, which goes on in the next line after a dot where there is no room for all of it."""
    return Markup(".<wbr>").join(name.split("."))


@ui.app_template_filter("plain")
def plain(line: str) -> str:
    """A line from a node without colours, cursor movements and characters that turn text around."""
    return _CONTROLS.sub("�", _ESCAPES.sub("", line))


@ui.app_template_filter("pretty")
def pretty(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, (dict, list)) and value else None)


@ui.app_template_filter("paragraph")
def paragraph(text: str) -> Markup:
    return Markup("<br>").join(escape(line) for line in text.splitlines())


# ---------------------------------------------------------------- doing


def act(work: Callable[[], T], done: str | Callable[[T], str], to: str) -> BaseResponse:
    """Do it, say how it went, and go (back) to a page: what is refused is told with its way out, and is no fault."""
    try:
        result = work()
    except CrowbarError as error:
        if error.status >= 500:
            raise
        refuse(error)
    else:
        flash(done(result) if callable(done) else done, "ok")
    return redirect(back(to), code=HTTPStatus.SEE_OTHER)


def refuse(error: CrowbarError) -> None:
    flash(error.detail, "refused")
    for each in error.errors:
        if each.detail not in error.detail:
            flash(f"{each.pointer.lstrip('/') or 'value'}: {each.detail}", "refused")


def back(default: str) -> str:
    """The page the form was on, if it says so and it is one of ours."""
    wanted = request.form.get("back", "") or request.args.get("next", "")
    return wanted if is_local(wanted) else default


def is_local(url: str) -> bool:
    """A path on this server: no scheme, no host, nothing a browser would read as one."""
    if not url.startswith("/") or url.startswith(("//", "/\\")) or "\\" in url or re.search(r"[\x00-\x20]", url):
        return False
    split = urlsplit(url)
    return not split.scheme and not split.netloc


def actor() -> Actor:
    return auth.current_actor()


def found(thing: T | None, what: str, where: str) -> T:
    """The thing that was looked for; None is ``NotFound``: "There is no ``what``. See ``where``."."""
    if thing is None:
        raise NotFound(f"There is no {what}. See {where}.")
    return thing


def field(name: str, what: str = "") -> str:
    """A field of the form that must be filled in, called ``what`` for people. Raises ``BadInput``."""
    value = request.form.get(name, "").strip()
    if not value:
        raise BadInput(f"{(what or name).capitalize()} is missing: fill it in.")
    return value


def number(name: str, what: str = "") -> int:
    """A field of the form that holds an id, as a list to choose from gives it. Raises ``BadInput``."""
    return whole(field(name, what), what or name)


def whole(text: str, what: str) -> int:
    known = known_id(text)
    if known is None:
        raise BadInput(f"{what.capitalize()} is not a number that Crowbar gave out: choose it from the list.")
    return known


def known_id(text: str) -> int | None:
    """The number in a page's address; None for whatever is none that Crowbar gives out."""
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) and int(text) <= ID_MAX else None


def filter_id(name: str) -> int | None:
    """The id that a list is to be filtered by; 0, which nothing has, for whatever is no id; None where none is said."""
    text = request.args.get(name, "")
    return (known_id(text) or 0) if text else None


def before_id() -> int | None:
    """The key to page on from; whatever is no number is the first page."""
    return known_id(request.args.get("before", ""))


def form_body(kind: type[B]) -> B:
    """The form as a body of the API. Raises ``BadInput`` with what is wrong with each field."""
    body = strict.form(kind, request.form)
    assert isinstance(body, kind)
    return body


def form_value(what: str) -> Any:
    """The field ``value`` as JSON or, if ``text`` says so, as it is."""
    text = request.form.get("value", "")
    return text if request.form.get("text") else json_value(text, what)


def json_value(text: str, what: str) -> Any:
    """JSON as typed into a form, read as strictly as the API does. Text that is no JSON is taken as a string, unless it
    looks like JSON gone wrong.
    """
    stripped = text.strip()
    if not stripped:
        raise BadInput(f"{what} is empty: type a value, or unset it.")
    try:
        return strict.parse(stripped.encode())
    except strict.NoJson as error:
        if stripped[0] in '{["' or len(stripped) > 10_000:
            raise BadInput(f"{what} is not JSON: {error.detail.partition(': ')[2]}") from None
        return stripped
    except BadInput as error:
        where = error.errors[0].pointer if error.errors else ""
        raise BadInput(f"{what} cannot be{f' (at {where})' if where else ''}: {error.detail}") from None
