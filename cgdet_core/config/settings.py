"""What all settings have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def ascending(least: float, most: float) -> AfterValidator:
    """Of a range: two numbers within these bounds, the lower first."""

    def check(value: tuple[float, float]) -> tuple[float, float]:
        if not least <= value[0] <= value[1] <= most:
            raise ValueError(f"{list(value)} must be two numbers from {least:g} to {most:g}, the lower first")
        return value

    return AfterValidator(check)


_Width = Annotated[int, Field(ge=8, le=4096, multiple_of=8)]
# channels of a network's maps at strides 2, 4, 8, 16, 32
Widths = tuple[_Width, _Width, _Width, _Width, _Width]


class Settings(BaseModel):
    """Base of all settings: frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
