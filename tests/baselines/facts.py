"""Short stories for the memory systems' tests: no two of them share a name."""

from __future__ import annotations

FACTS = (
    "Ada Morn was born in Zork in 1833.",
    "The river Yialis flows through Oumir.",
    "Brom Teld lives in Farn and keeps 3 bees.",
    "Cara Vint wrote the opera Lune.",
    "The castle of Drask burned down in 1702.",
)


def canary(number: int, part: int) -> str:
    """A fact that one story alone holds."""
    return f"The canary of Room{number} sings song {part}{number}."
