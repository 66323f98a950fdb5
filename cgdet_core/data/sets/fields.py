"""The values in files of labels, checked for type and value here and nowhere else.

What can mean one thing alone is read as that, by pydantic: a number, flag or id that is written as text, a whole number
as 640.0, a name in other case or with blanks. Anything else is an error; the reader adds the place of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

_FARTHEST_PX = 1e9


def numbers(values: Iterable[Any], count: int) -> tuple[float, ...]:
    """So many numbers of pixels; ValueError or TypeError for anything else."""
    found = tuple(map(float, values))
    if len(found) != count or not all(abs(each) < _FARTHEST_PX for each in found):
        raise ValueError(f"give {count} numbers")
    return found


def box(values: Iterable[Any]) -> tuple[float, float, float, float]:
    """Four numbers of a box, in pixels."""
    first, second, third, fourth = numbers(values, 4)
    return first, second, third, fourth


def same_name(name: str, names: Collection[str]) -> str | None:
    """The one of `names` that is `name`, or differs from it by case and blanks alone; None: none, or several."""
    if name in names:
        return name
    same = [each for each in names if folded(each) == folded(name)]
    return same[0] if len(same) == 1 else None


def folded(name: str) -> str:
    """The name without what case and blanks make of it."""
    return " ".join(name.split()).casefold()


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        raise ValueError("give a whole number: a float does not tell nanoseconds apart")
    return value


def _name(value: Any) -> Any:
    return str(value) if type(value) is int else None if value == "" else value


def _light(value: Any) -> Any:
    return value.strip().casefold() or None if isinstance(value, str) else value


def _or(nothing: Any) -> BeforeValidator:
    """Null is what is left out."""
    return BeforeValidator(lambda value: nothing if value is None else value)


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
# what entries refer to each other by: 7, 7.0 and "7" are one; other text stays text
Identity = Annotated[int | Text, Field(union_mode="left_to_right")]
Side = Annotated[int, Field(ge=1, le=1_000_000)]
Stamp = Annotated[int, BeforeValidator(_exact), Field(ge=0, lt=1 << 63)]
Flag = Annotated[bool, _or(False)]
Name = Annotated[Text | None, BeforeValidator(_name)]  # also a number, such as that of a scene
Light = Annotated[Literal["day", "night"] | None, BeforeValidator(_light)]
_Place = Annotated[float, Field(gt=-_FARTHEST_PX, lt=_FARTHEST_PX)]
_Length = Annotated[float, Field(ge=0, lt=_FARTHEST_PX)]
Box = tuple[_Place, _Place, _Length, _Length]
Places = Annotated[tuple[_Place, ...], _or(())]


def flag(text: str | None) -> bool:
    """Of a text, 0 or 1, or nothing: no; ValueError for another."""
    if (stripped := (text or "0").strip()) not in ("0", "1"):
        raise ValueError(f"the flag is {stripped}")
    return stripped == "1"
