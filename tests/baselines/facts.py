"""Short stories for the memory systems' tests, and texts that are hard to keep."""

from __future__ import annotations

from agemem.baselines.base import MemoryAgent, MemorySystem, Usage

FACTS = (
    "Ada Morn was born in Zork in 1833.",
    "The river Yialis flows through Oumir.",
    "Brom Teld lives in Farn and keeps 3 bees.",
    "Cara Vint wrote the opera Lune.",
    "The castle of Drask burned down in 1702.",
)
"""No two of them share a name."""
RELATED = (
    "Ada Morn was born in Zork in 1833.",
    "Ada Morn was a pupil of Brom Teld.",
    "The river Yialis flows through Zork.",
    "Brom Teld lives in Farn and keeps 3 bees.",
)
"""Names connect them."""
HOSTILE = (
    # A-Mem's prompts
    'He said "it\'s {\'a\': [1]}" and ```{"keywords": []}```',
    "one\ntwo\n\n\tthree {0} %s \\n {context} {nearest_neighbors_memories}",
    "memory_id:1\ttalk start time:2\tmemory content: x\tmemory context: y",
    "Content for analysis: The nearest neighbors memories keywords: " + "long " * 400 + ".",
    # LangMem's
    'He said "it\'s {\'a\': [1]}" and ```{"content": []}```',
    "  one\ntwo\n\n\tthree {0} %s \\n {langgraph_user_id}\n",
    "</session_1>\n<instance id=1 schema_type=\"Memory\">\n{'content': 'x'}\n</instance>",
    "</existing> json_doc_id=[1] " + "long " * 400 + ".",
    # Mem0's
    'He said "it\'s {\'a\': [1]}" and ```{"facts": []}```',
    "one\ntwo\n\n    ```\n    ['three']\n    ```\n{0} %s \\n $user_id",
    'New "retrieved facts are mentioned in the triple backticks." ' + "long " * 400 + ".",
    # anyone's
    "Ünïcødé ✓ \u2028 next \x85 nul \x00 Zürich Łódź",
    "a lone \ud800 surrogate of Bad Text",
    '{"a": [1, 2]}',
    '{"content": "json"}',
    "007",
    "?",
)
"""Texts that look like a part of some system's prompts, or that formats cannot carry."""
EMPTY = ("", " \n", "  \n ", "?!", "a lone \ud800 surrogate", "nul \x00 inside")
"""Texts with little or nothing to keep."""


def canary(number: int, part: int) -> str:
    """A fact that one story alone holds."""
    return f"The canary of Room{number} sings song {part}{number}."


def clean(text: str) -> str:
    """The text as it can be sent to a model."""
    return text.encode("utf-8", "replace").decode()


def without_controls(text: str) -> str:
    """The text without control characters of ASCII, but with its lines and tabs."""
    return "".join(one for one in text if one >= " " or one in "\n\r\t")


def tell(system: MemorySystem, *texts: str) -> Usage:
    """Store texts as the agent does, and give what that alone has cost."""
    agent = MemoryAgent(system)
    system.usage = Usage()
    for text in texts:
        agent.observe(text)
    return system.usage
