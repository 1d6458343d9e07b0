"""What can go wrong with a lab, each said in one sentence."""

from __future__ import annotations

from crowbar_core import CrowbarError


class LabError(CrowbarError):
    """A lab cannot do what was asked."""

    code = "lab"
    status = 409


class LabNotFound(LabError):
    """No such lab, or no such node in it."""

    code = "lab-not-found"
    status = 404


class LabUnavailable(LabError):
    """This machine cannot hold a lab: no root, a namespace refused, a tool missing."""

    code = "lab-unavailable"
    status = 503
