"""Numbers made readable: medians, ratios, tables in Markdown. Pure: it measures nothing."""

import math
import statistics


def ratios(of, base):
    """Of each round, since what disturbs a round disturbs both."""
    return [a / b for a, b in zip(of, base)]


def spread(values):
    """Half of what lies between the quartiles, which one odd round does not change."""
    if len(values) < 4:
        return (max(values) - min(values)) / 2
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2


def ratio(values):
    """A ratio with two digits that say something."""
    middle = statistics.median(values)
    digits = 2 if middle >= 0.095 else min(6, 1 - math.floor(math.log10(middle))) if middle > 0 else 2
    text = f"{middle:.{digits}f}"
    return text if len(values) < 2 else f"{text} ±{spread(values):.{digits}f}"


def number(value):
    """Three digits, thousands apart: 1 230 000, 123, 1.23."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 100:
        return f"{round(rounded):,}".replace(",", " ")
    return f"{rounded:.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def size(count):
    """Bytes in the unit in which they are easiest to read."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{number(count / unit)} {name}" if count % unit else f"{count // unit} {name}"
    return f"{count} B"


def duration(seconds):
    if seconds >= 1:
        return f"{number(seconds)} s"
    return f"{number(seconds * 1e3)} ms" if seconds >= 1e-3 else f"{number(seconds * 1e6)} µs"


def table(head, rows, words=1):
    """A table in Markdown, its columns as wide as what is in them; the first of them have words, the others numbers."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [
            cell.ljust(width) if at < words else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("| " + " | ".join(cells) + " |")
    rule = ["-" * width if at < words else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    return "\n".join(lines)


def grows(samples, factor, slack):
    """Whether the last third is above the first by more than a factor and more than this slack. What disturbs a machine
    only ever adds, hence the least of each."""
    third = max(1, len(samples) // 3)
    first, last = min(samples[:third]), min(samples[-third:])
    return last > first * factor and last > first + slack
