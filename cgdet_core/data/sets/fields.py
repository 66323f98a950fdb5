"""The values in files of labels, checked for type and value here and nowhere else.

What can mean one thing alone is read as that: a number, flag or id that is written as text, a whole number as 640.0, a
name in other case or with blanks. Anything else is a ValueError; the reader makes an InputError with the place of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator

_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
_WHOLE = re.compile(r"\s*-?(0|[1-9]\d{0,30})\s*")
_FLAGS = {"true": True, "false": False}
_MOST_EXACT = 1 << 53  # whole numbers beyond it are not told apart as floats
_FARTHEST_PX = 1e9


def number(value: Any) -> Any:
    """A number that is written as text, as a number; anything else as it stands."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return int(value) if _WHOLE.fullmatch(value) else float(value)


def whole(value: Any) -> int:
    """A whole number, written as 640, 640.0 or "640"."""
    found = number(value)
    if isinstance(found, float) and found.is_integer() and abs(found) < _MOST_EXACT:
        found = int(found)
    if type(found) is not int:
        raise ValueError("give a whole number")
    return found


def flag(value: Any) -> bool:
    """Yes or no, written as 0, 1, true or false, also as text or 1.0; left out or null is no."""
    found = _FLAGS.get(value.strip().casefold(), number(value)) if isinstance(value, str) else value
    if found is None:
        return False
    if not isinstance(found, int | float) or found not in (0, 1):
        raise ValueError("give 0 or 1")
    return bool(found)


def identity(value: Any) -> int | str:
    """What entries refer to each other by: 7, 7.0 and "7" are one; other text stays text."""
    if isinstance(value, str) and value.strip() and not _WHOLE.fullmatch(value):
        return value.strip()
    return whole(value)


def text(value: Any) -> str:
    """Text that is not blank, without blanks at its ends."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("give a text")
    return value.strip()


def numbers(values: Iterable[Any], count: int) -> tuple[float, ...]:
    """So many numbers of pixels."""
    found = tuple(number(each) for each in values)
    if len(found) != count or not all(type(each) in (int, float) and abs(each) < _FARTHEST_PX for each in found):
        raise ValueError(f"give {count} numbers")
    return found


def box(values: Iterable[Any]) -> tuple[float, float, float, float]:
    """Four numbers of a box, in pixels."""
    first, second, third, fourth = numbers(values, 4)
    return first, second, third, fourth


def same_name(name: str, names: Collection[str]) -> str | None:
    """The one of `names` that is written like `name`, or differs from it by case and blanks alone; None: none, or
    several."""
    if name in names:
        return name
    same = [each for each in names if folded(each) == folded(name)]
    return same[0] if len(same) == 1 else None


def folded(name: str) -> str:
    """The name without what case and blanks make of it."""
    return " ".join(name.split()).casefold()


def _box_mode(value: Any) -> None:
    """Detectron2's word for what a box's numbers are: 1 or XYWH_ABS, as COCO's are, or none."""
    if value not in (None, "XYWH_ABS") and number(value) != 1:
        raise ValueError("boxes are left, top, width and height in pixels (XYWH_ABS, 1): convert them, and say so")


def _name(value: Any) -> str | None:
    return None if value in (None, "") else text(str(value) if type(value) is int else value)


def _light(value: Any) -> Any:
    return value.strip().casefold() or None if isinstance(value, str) else value


def _numbers(value: Any) -> Any:
    return () if value is None else tuple(map(number, value)) if isinstance(value, list) else value


Identity = Annotated[int | str, PlainValidator(identity)]
Whole = Annotated[int, PlainValidator(whole)]
Side = Annotated[int, BeforeValidator(whole), Field(ge=1, le=1_000_000)]
Stamp = Annotated[int, BeforeValidator(whole), Field(ge=0, lt=1 << 63)]
Flag = Annotated[bool, PlainValidator(flag)]
Text = Annotated[str, PlainValidator(text)]
Name = Annotated[str | None, PlainValidator(_name)]  # also a number, such as that of a scene
Light = Annotated[Literal["day", "night"] | None, BeforeValidator(_light)]
_Place = Annotated[float, Field(gt=-_FARTHEST_PX, lt=_FARTHEST_PX)]
_Length = Annotated[float, Field(ge=0, lt=_FARTHEST_PX)]
Box = Annotated[tuple[_Place, _Place, _Length, _Length], BeforeValidator(_numbers)]
BoxMode = Annotated[None, PlainValidator(_box_mode)]
Places = Annotated[tuple[_Place, ...], BeforeValidator(_numbers)]
