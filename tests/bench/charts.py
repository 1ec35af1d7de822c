# SPDX-License-Identifier: Apache-2.0
"""Bar charts as SVG text: a bar for each router, grouped; the rounds' spread is a line."""

from xml.sax.saxutils import escape

WIDTH, LABEL, BAR, ROW, HEAD = 760, 190, 440, 24, 30
FONT = "font-family='sans-serif' font-size='13'"
HOMING, OTHER, NONE = ("#1668a8", "#79b4e0"), ("#7d8590", "#bcc2c9"), ("#c9ced4", "#e3e6ea")


def colours(name):
    return HOMING if name.startswith("Homing") else NONE if name.startswith("direct") else OTHER


class Bar:
    """parts are stacked; low and high: the spread of their sum."""

    def __init__(self, name, parts, low, high):
        self.name, self.parts, self.low, self.high = name, parts, low, high


def text(x, y, words, more=""):
    return "<text x='%.1f' y='%.1f' %s fill='#1f2328' %s>%s</text>" % (
        x, y, FONT, more, escape(words))


def box(x, y, width, height, colour):
    return "<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' fill='%s'/>" % (
        x, y, width, height, colour)


def one_bar(bar, y, scale, decimals):
    shapes, x = [text(LABEL - 8, y + 16, bar.name, "text-anchor='end'")], LABEL
    for value, colour in zip(bar.parts, colours(bar.name)):
        width = max(value, 0) * scale
        shapes.append(box(x, y + 4, width, ROW - 8, colour))
        x += width
    low, high = LABEL + max(bar.low, 0) * scale, LABEL + bar.high * scale
    if bar.high > bar.low:
        shapes.append("<path d='M%.1f %.1fH%.1f' stroke='#1f2328' stroke-width='1.5'/>" % (
            low, y + ROW / 2, high))
    shapes.append(text(max(x, high) + 6, y + 16, format(sum(bar.parts), ",.%df" % decimals)))
    return shapes


def draw(title, groups, decimals=0, legend=""):
    """groups: (heading, bars)."""
    most = max((max(bar.high, sum(bar.parts)) for _, bars in groups for bar in bars), default=0)
    shapes, y = [text(8, 20, title, "font-weight='bold'")], 34
    if legend:
        shapes.append(text(8, 38, legend))
        y += 16
    for heading, bars in groups:
        if heading:
            shapes.append(text(LABEL, y + 18, heading, "font-style='italic'"))
            y += HEAD
        for bar in bars:
            shapes += one_bar(bar, y, BAR / (most or 1), decimals)
            y += ROW
    return "\n".join([
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d'>" % (WIDTH, y + 10),
        box(0, 0, WIDTH, y + 10, "#ffffff"), *shapes, "</svg>"]) + "\n"
