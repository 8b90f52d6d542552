"""Charts as SVG by hand: text stays text, nothing runs in them, and they are readable on light and on dark. Pure."""

import math
from html import escape

WIDTH = 840
STYLE = """
    .card { fill: #ffffff; stroke: #d1d9e0; }
    text { font: 13px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; fill: #1f2328; }
    .title { font-size: 15px; font-weight: 600; }
    .note { font-size: 12px; fill: #59636e; }
    .strong { font-weight: 600; }
    .over { paint-order: stroke; stroke: #ffffff; stroke-width: 5px; stroke-linejoin: round; }
    .grid { stroke: #d1d9e0; stroke-width: 1; }
    .ours { fill: #1a7f37; }
    .peer { fill: #8c959f; }
    .limit { fill: none; stroke: #59636e; stroke-dasharray: 4 3; }
    .line-ours { stroke: #1a7f37; fill: none; stroke-width: 2.5; stroke-linejoin: round; }
    .line-peer { stroke: #8c959f; fill: none; stroke-width: 2.5; stroke-linejoin: round; }
    @media (prefers-color-scheme: dark) {
      .card { fill: #0d1117; stroke: #3d444d; }
      text { fill: #f0f6fc; }
      .note { fill: #9198a1; }
      .over { stroke: #0d1117; }
      .grid { stroke: #3d444d; }
      .ours { fill: #3fb950; }
      .peer { fill: #656c76; }
      .limit { stroke: #9198a1; }
      .line-ours { stroke: #3fb950; }
      .line-peer { stroke: #9198a1; }
    }
"""


def document(height, title, description, parts):
    """The whole file: a card, for who sees it on a page of whatever colour, and what is drawn on it."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
            'role="img" aria-labelledby="title desc">',
            f'  <title id="title">{escape(title)}</title>',
            f'  <desc id="desc">{escape(description)}</desc>',
            f"  <style>{STYLE}  </style>",
            f'  <rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
            *(f"  {part}" for part in parts),
            "</svg>",
            "",
        ]
    )


def text(x, y, words, style="", anchor="start"):
    names = f' class="{style}"' if style else ""
    anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{names}{anchored}>{escape(words)}</text>'


def line(x1, y1, x2, y2):
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


class Linear:
    def __init__(self, values):
        self.top = max(values)

    def __call__(self, value):
        return value / self.top

    ticks = ()


class Log:
    """From a power of the base below the least value to one that is not below the greatest."""

    def __init__(self, values, base=10):
        self.base = base
        self.low = math.floor(math.log(min(values), base) - 1e-9)
        self.high = max(math.ceil(math.log(max(values), base) - 1e-9), self.low + 1)

    def __call__(self, value):
        return (math.log(value, self.base) - self.low) / (self.high - self.low)

    @property
    def ticks(self):
        return [self.base**power for power in range(self.low, self.high + 1)]


def bars(title, description, panels):
    """Panels of horizontal bars, one below the other. A panel: title, note, bars of (name, value, label, style: ours,
    peer or limit), and where its scale is logarithmic the base of that, and how to label a tick."""
    left, right, step, thick = 160, WIDTH - 120, 24, 15
    parts, y = [], 34
    for panel in panels:
        parts += [text(24, y, panel["title"], "title"), text(24, y + 19, panel["note"], "note")]
        y += 34
        values = [value for _, value, _, _ in panel["bars"]]
        scale = Log(values, panel["log"]) if "log" in panel else Linear(values)
        bottom = y + step * len(values)
        for tick in scale.ticks:
            x = left + scale(tick) * (right - left)
            parts += [line(x, y, x, bottom), text(x, bottom + 15, panel["tick"](tick), "note", "middle")]
        for at, (name, value, label, style) in enumerate(panel["bars"]):
            middle = y + step * at + step / 2
            long = max(1.5, scale(value) * (right - left))
            strong = "strong" if style == "ours" else ""
            parts += [
                text(left - 10, middle + 4.5, name, strong, "end"),
                f'<rect class="{style}" x="{left}" y="{middle - thick / 2:.1f}" '
                f'width="{long:.1f}" height="{thick}" rx="2"/>',
                text(left + long + 8, middle + 4.5, label, f"over {strong}".strip()),
            ]
        y = bottom + (50 if scale.ticks else 36)
    return document(y - 16, title, description, parts)


def lines(title, description, panels):
    """Panels of lines, two beside each other. A panel: title, note, series of (name, whether ours, points), the values
    on the x axis that are labelled, how to label them and the y axis, and where that is logarithmic its base."""
    gap, row, beside = 74, 330, 2
    wide = (WIDTH - gap * beside - 30) / beside
    parts = []
    for at, panel in enumerate(panels):
        left = gap + at % beside * (wide + gap)
        start = at // beside * row
        top, bottom = start + 72, start + 280
        xs = [x for _, _, points in panel["series"] for x, _ in points]
        ys = [y for _, _, points in panel["series"] for _, y in points]
        first, last = math.log(min(xs)), math.log(max(xs))
        vertical = Log(ys, panel["log"]) if "log" in panel else Steps(ys)

        def place(x, y):
            return left + (math.log(x) - first) / (last - first) * wide, bottom - vertical(y) * (bottom - top)

        parts += [text(left - gap + 24, start + 34, panel["title"], "title")]
        parts += [text(left - gap + 24, start + 53, panel["note"], "note")]
        for tick in vertical.ticks:
            y = bottom - vertical(tick) * (bottom - top)
            parts += [line(left, y, left + wide, y), text(left - 8, y + 4, panel["y"](tick), "note", "end")]
        for tick in panel["ticks"]:
            parts.append(text(place(tick, ys[0])[0], bottom + 18, panel["x"](tick), "note", "middle"))
        parts.append(text(left + wide / 2, bottom + 38, panel["axis"], "note", "middle"))
        for name, ours, points in panel["series"]:
            style = "ours" if ours else "peer"
            placed = [place(*point) for point in points]
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
            parts.append(f'<polyline class="line-{style}" points="{corners}"/>')
            parts += [f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in placed]
            # Where there is most room beside the other lines.
            others = [dict(more) for other, _, more in panel["series"] if other != name]

            def beside_others(i):
                x, y = points[i][0], placed[i][1]
                return [place(x, other[x])[1] - y for other in others if x in other]

            inner = range(1, len(points) - 1) if len(points) > 2 else range(len(points))
            best = max(inner, key=lambda i: min(map(abs, beside_others(i)), default=0))
            x, y = placed[best]
            above = all(distance >= 0 for distance in beside_others(best))
            parts.append(text(x, y + (-12 if above else 22), name, "over strong" if ours else "over", "middle"))
    return document(row * math.ceil(len(panels) / beside) + 10, title, description, parts)


class Steps:
    """From nothing to a round number that is not below the greatest value."""

    def __init__(self, values):
        top = max(values)
        power = 10 ** math.floor(math.log10(top))
        self.step = next(power * part for part in (0.2, 0.25, 0.5, 1, 2, 2.5) if power * part * 5 >= top)
        self.top = self.step * math.ceil(top / self.step - 1e-9)

    def __call__(self, value):
        return value / self.top

    @property
    def ticks(self):
        return [self.step * at for at in range(round(self.top / self.step) + 1)]
