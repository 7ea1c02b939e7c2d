"""Draw the picture of the three stages, docs/images/stages.svg: ``python docs/draw_stages.py``."""

from __future__ import annotations

from html import escape
from pathlib import Path

OUT = Path(__file__).resolve().parent / "images" / "stages.svg"
STAGES = (
    ("1  Construction", "Facts arrive in casual talk.", "The question is not known yet.",
     "Add · Update · Delete"),
    ("2  Distraction", "The context was emptied.", "Useless talk arrives.",
     "Summary · Filter"),
    ("3  Reasoning", "The question comes. The answer", "must come from memory.",
     "Retrieve · answer"),
)  # fmt: skip
WIDTH, HEIGHT, BOX, GAP, TOP = 860, 268, 260, 40, 46
STYLE = """
  text { font: 15px system-ui, sans-serif; fill: #1f2328 }
  .head { font-weight: 600; font-size: 17px } .quiet { fill: #59636e; font-size: 13px }
  .box { fill: #f6f8fa; stroke: #d1d9e0 } .memory { fill: #ddf4ff; stroke: #54aeff }
  .arrow { stroke: #59636e; stroke-width: 1.5; fill: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .quiet { fill: #9198a1 }
    .box { fill: #151b23; stroke: #3d444d } .memory { fill: #121d2f; stroke: #1f6feb }
    .arrow { stroke: #9198a1 }
  }"""


def text(x: int, y: int, content: str, kind: str = "") -> str:
    """A centred line of text."""
    return f'<text x="{x}" y="{y}" text-anchor="middle" class="{kind}">{escape(content)}</text>'


def arrow(x1: int, y1: int, x2: int, y2: int) -> str:
    """A line with a head at its end."""
    return f'<path class="arrow" marker-end="url(#head)" d="M{x1} {y1} L{x2} {y2}"/>'


def stage(index: int) -> list[str]:
    """The box of a stage, and its arrows to or from long-term memory."""
    title, *lines, tools = STAGES[index]
    left = index * (BOX + GAP)
    middle = left + BOX // 2
    drawn = [
        f'<rect class="box" x="{left + 1}" y="{TOP}" width="{BOX - 2}" height="104" rx="8"/>',
        text(middle, TOP + 28, title, "head"),
        *(text(middle, TOP + 54 + 20 * row, line) for row, line in enumerate(lines)),
        text(middle, TOP + 96, tools, "quiet"),
    ]
    if index:
        drawn.append(arrow(left - GAP + 2, TOP + 52, left - 4, TOP + 52))
    below, memory = TOP + 104, TOP + 158
    writes = index < 2
    drawn.append(arrow(middle, below + 2, middle, memory - 4) if writes
                 else arrow(middle, memory, middle, below + 6))  # fmt: skip
    return drawn


def draw() -> str:
    """The picture as SVG."""
    parts = [part for index in range(len(STAGES)) for part in stage(index)]
    parts += [
        text(WIDTH // 2, 22, "one policy · one context with a budget · six tools", "quiet"),
        f'<rect class="memory" x="1" y="{TOP + 158}" width="{WIDTH - 2}" height="60" rx="8"/>',
        text(WIDTH // 2, TOP + 184, "Long-term memory", "head"),
        text(WIDTH // 2, TOP + 206, "all that is left of stage 1 when the question comes", "quiet"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" aria-label="The three stages of an episode">\n<style>{STYLE}\n</style>\n'
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="arrow" d="M1 1 L9 5 L1 9"/></marker></defs>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(draw(), encoding="utf-8")
