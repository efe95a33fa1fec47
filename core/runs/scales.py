"""Scales of a drawing: round ticks, also of a logarithmic axis; smoothing; and short numbers. No files."""

from __future__ import annotations

import math

from core.tails import Points

SMOOTHING = 0.78


def ticks(low: float, high: float, wanted: int, *, whole: bool = False) -> list[float]:
    """About `wanted` round numbers, or `whole` ones, within [low, high]; steps are 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    raw = (high - low) / max(1, wanted)
    raw = max(1.0, raw) if whole else raw
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Powers of ten within [low, high], both above 0; with their 2- and 5-fold where there would be fewer than 3, and
    round numbers as of a plain axis where even those are too few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]
        if len(found) >= 3:
            return found[:: math.ceil(len(found) / (2 * wanted))]
    return [tick for tick in ticks(low, high, wanted) if tick > 0]


def smooth(points: Points, weight: float = SMOOTHING) -> Points:
    """Exponential moving average, debiased at the start (as TensorBoard draws it)."""
    mean, mass = 0.0, 0.0
    result: Points = []
    for x, y in points:
        mean, mass = weight * mean + (1 - weight) * y, weight * mass + (1 - weight)
        result.append((x, mean / mass))
    return result


def spread(values: list[float], margin: float = 0.0) -> tuple[float, float]:
    """The least and the greatest, `margin` of their distance further apart; never the same number twice."""
    low, high = min(values), max(values)
    if high == low:
        away = abs(low) * 0.5 or 1.0
        return low - away, high + away
    space = (high - low) * margin
    return low - space, high + space


def short(value: float) -> str:
    """Four digits that say something; thousands as k, M, G from 10 000 on."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"
