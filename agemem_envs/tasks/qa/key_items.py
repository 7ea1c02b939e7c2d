"""K_q of a question: the names, numbers and times that it contains."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agemem_envs.tasks.qa.cases import holds

_NAME = r"[A-Z][\w'’.-]*(?:\s+(?:(?:of|the|de|von|van|la|el)\s+)*[A-Z0-9][\w'’.-]*)*"
_KEY_ITEM = re.compile(rf'"([^"]{{2,80}})"|({_NAME})|(\b\d[\d,.:-]*\b)')
_QUESTION_WORDS = frozenset(
    (
        "what which who whom whose when where why how is are was were do does did in on at of "
        "the a an and or both between name find put your you it if for from to with by"
    ).split()
)


def key_items(query: str) -> tuple[str, ...]:
    """K_q: the quoted titles, capitalised names and numbers of a query, in order.

    A question word at the start of the query is not part of a name ("Which Smith" -> "Smith").
    """
    items = []
    for quoted, name, number in _KEY_ITEM.findall(query):
        words = (quoted or name or number).strip(" .,").split()
        if not quoted:
            while words and words[0].lower() in _QUESTION_WORDS:
                words.pop(0)
        if words:
            items.append(re.sub(r"['’]s?$", "", " ".join(words)))
    return tuple(dict.fromkeys(item for item in items if len(item) > 1))


def supported_key_items(question: str, gold: str, titles: Sequence[str]) -> tuple[str, ...]:
    """K_q of a question that is answered by a text.

    Args:
        question: The question.
        gold: The supporting sentences.
        titles: The titles of their paragraphs.

    Returns:
        The key items of the question that the text holds; without one, the titles that both the
        question and the text hold; without one, all key items of the question.
    """
    items = key_items(question)
    held = tuple(item for item in items if holds(gold, item))
    named = tuple(title for title in titles if holds(question, title) and holds(gold, title))
    return held or named or items
