"""Charts as the server draws them: the numbers of an SVG, for `templates/charts.html`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

SPARK_WIDTH, SPARK_HEIGHT = 112, 28
WIDTH, HEIGHT = 640, 180
PAD = 2  # so that the stroke is not cut
LEGIBLE_DOTS = 150


@dataclass(frozen=True, slots=True)
class Dot:
    """One point of a chart, for who points at it."""

    x: float
    y: float
    at: datetime
    value: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A curve with the area below it. `lowest` and `highest` are the values at its bottom and top."""

    width: int
    height: int
    curve: str
    area: str
    lowest: int
    highest: int
    dots: Sequence[Dot] = ()


def spark(values: Sequence[int]) -> Chart:
    """A small curve without axes, over equally spaced values; it fills its height."""
    step = SPARK_WIDTH / max(len(values) - 1, 1)
    return _chart([step * place for place in range(len(values))], values, SPARK_WIDTH, SPARK_HEIGHT, from_zero=False)


def over_time(points: Sequence[tuple[datetime, int]]) -> Chart:
    """A curve in steps: a size holds until the next one. `points` are in order of time, at least one."""
    first, last = points[0][0], points[-1][0]
    whole = max((last - first).total_seconds(), 0.001)
    xs = [(at - first).total_seconds() / whole * WIDTH for at, _ in points]
    values = [value for _, value in points]
    drawn = _chart(xs, values, WIDTH, HEIGHT, from_zero=True, in_steps=True)
    if len(points) > LEGIBLE_DOTS:
        return drawn
    dots = [
        Dot(round(x, 1), _y(value, drawn.lowest, drawn.highest, HEIGHT), at, value)
        for x, (at, value) in zip(xs, points, strict=True)
    ]
    return Chart(drawn.width, drawn.height, drawn.curve, drawn.area, drawn.lowest, drawn.highest, dots)


def _chart(
    xs: Sequence[float], values: Sequence[int], width: int, height: int, *, from_zero: bool, in_steps: bool = False
) -> Chart:
    highest = max(values, default=0)
    lowest = 0 if from_zero else min(values, default=0)
    places = [(round(x, 1), _y(value, lowest, highest, height)) for x, value in zip(xs, values, strict=True)]
    start = f"M{places[0][0]} {places[0][1]}" if places else "M0 0"
    further = (f"H{x}V{y}" if in_steps else f"L{x} {y}" for x, y in places[1:])
    curve = start + "".join(further)
    area = f"{curve}V{height}H{places[0][0] if places else 0}Z"
    return Chart(width, height, curve, area, lowest, highest)


def _y(value: int, lowest: int, highest: int, height: int) -> float:
    if highest == lowest:  # nothing happened: a line in the middle, or at the bottom where there is nobody
        return height / 2 if highest else height - PAD
    return round(height - PAD - (value - lowest) / (highest - lowest) * (height - 2 * PAD), 1)
