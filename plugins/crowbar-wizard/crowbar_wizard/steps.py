"""The steps of the wizard, as barclamps bring them, and what may be answered in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crowbar_core import BadInput, ConfigError, FieldError, NotFound, cluster

MACHINE = "machine"
"""The step that says where Crowbar is; others lean on it."""
LONGEST = 4000
MASK = "********"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One answer, always a text. With ``choices`` (value, what is shown) it is one of those."""

    name: str
    label: str
    help: str = ""
    default: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    required: bool = False
    secret: bool = False


@dataclass(frozen=True, kw_only=True)
class Step:
    """As ``hooks.wizard_steps`` tells."""

    barclamp: str
    name: str
    title: str
    order: int
    carry_out: Callable[[Mapping[str, str], Any, Mapping[str, str]], Iterable[str]]
    text: str = ""
    fields: tuple[Field, ...] = ()
    picture: Callable[[Mapping[str, str]], Any] | None = None

    @property
    def secrets(self) -> frozenset[str]:
        """The fields whose answers nobody is shown."""
        return frozenset(one.name for one in self.fields if one.secret)

    def checked(self, given: Mapping[str, str]) -> dict[str, str]:
        """All fields with their answers, those not given with their defaults. Raises ``BadInput`` with the fields."""
        wrong = [
            FieldError(pointer=f"/{name}", detail=f"The step {self.name} asks nothing called {name!r}; it asks "
                       f"{', '.join(one.name for one in self.fields) or 'nothing'}.")
            for name in given if name not in {one.name for one in self.fields}
        ]  # fmt: skip
        values = {one.name: given.get(one.name, one.default).strip() for one in self.fields}
        for one in self.fields:
            value = values[one.name]
            if one.required and not value:
                wrong.append(FieldError(pointer=f"/{one.name}", detail=f"{one.label} must be answered."))
            if len(value) > LONGEST or "\0" in value:
                said = f"{one.label} is text of at most {LONGEST:,} characters."
                wrong.append(FieldError(pointer=f"/{one.name}", detail=said))
            if one.choices and value not in (known := [choice for choice, _ in one.choices]):
                said = (
                    f"{one.label} is one of {', '.join(choice or 'nothing' for choice in known)}, not {value[:80]!r}."
                )
                wrong.append(FieldError(pointer=f"/{one.name}", detail=said))
        if wrong:
            raise BadInput(wrong[0].detail, errors=wrong)
        return values

    def shown(self, values: Mapping[str, str]) -> dict[str, str]:
        """Answers as anybody may see them."""
        return {name: MASK if name in self.secrets and value else value for name, value in values.items()}


def gather(session: Any, place: Mapping[str, str]) -> tuple[Step, ...]:
    """All steps in their order. Raises ``ConfigError`` for one that cannot be, naming who brings it."""
    found = []
    for barclamp, answer in cluster().ask("wizard_steps", session=session, place=place):
        for one in answer:
            try:
                fields = tuple(
                    Field(**{**field, "choices": tuple(field.get("choices", ()))}) for field in one["fields"]
                )
                found.append(Step(barclamp=barclamp, **{**one, "fields": fields}))
            except (KeyError, TypeError) as error:
                raise ConfigError(f"Barclamp {barclamp} brings a step of the wizard that is none: {error}.") from error
    return tuple(sorted(found, key=lambda step: (step.order, step.name)))


def named(steps: Iterable[Step], name: str) -> Step:
    several = tuple(steps)
    for one in several:
        if one.name == name:
            return one
    raise NotFound(f"The wizard has no step {name!r}; it has {', '.join(one.name for one in several)}.")
