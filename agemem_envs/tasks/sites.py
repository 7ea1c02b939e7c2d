"""Invented owners and places, by which the facts of several worlds are told apart.

A goal names the owner, and the facts name the place. Which place an owner has is a fact of its own,
so that no fact can be recognised as needed by the words of the goal alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agemem_envs.tasks.telling import Statement

OWNERS = tuple(
    (
        "Abney Bexley Calder Dunmore Ellery Farrow Garrick Hadley Ingram Jessop Kendal Lorimer "
        "Marlow Norwood Ormond Pelham Quill Radley Selwyn Thorne Upton Verney Wexford Yardley"
    ).split()
)
_FIRST = tuple(
    (
        "Amber Birch Cedar Dove Elder Falcon Granite Harbour Ivy Juniper Kestrel Linden Meadow "
        "Nettle Orchard Poplar Quarry Raven Saffron Tansy Umber Violet Willow Yarrow"
    ).split()
)
_SECOND = ("Court", "Hall", "House", "Lodge")


@dataclass(frozen=True, slots=True)
class Site:
    """A place and its owner.

    Attributes:
        owner: A surname, such as ``Marlow``.
        place: A name, such as ``Harbour Lodge``.
        spare: Another name, of a place about which nothing is told.
    """

    owner: str
    place: str
    spare: str


def draw_sites(count: int, generator: np.random.Generator) -> list[Site]:
    """Draw sites, of which no two have an owner or the first word of a place in common.

    Args:
        count: At most 12.
        generator: The only source of chance.
    """
    owners = [OWNERS[index] for index in generator.permutation(len(OWNERS))[:count]]
    words = [_FIRST[index] for index in generator.permutation(len(_FIRST))[: 2 * count]]
    kinds = generator.integers(len(_SECOND), size=2 * count)
    names = [f"{word} {_SECOND[kind]}" for word, kind in zip(words, kinds, strict=True)]
    return [Site(o, p, s) for o, p, s in zip(owners, names[:count], names[count:], strict=True)]


def link(site: Site, form: str, needed: bool) -> Statement:
    """The statement that an owner has a place.

    Args:
        site: The site.
        form: A sentence with ``{owner}`` and ``{place}``.
        needed: Whether the task needs it.
    """
    return Statement(
        text=form.format(owner=site.owner, place=site.place),
        needed=needed,
        topic=f"where to find {site.owner}",
        wrong=form.format(owner=site.owner, place=site.spare),
    )


def placed(
    subject: str,
    values: Sequence[str],
    site: Site,
    form: str,
    moved: str,
    needed: bool,
    generator: np.random.Generator,
) -> Statement:
    """The statement that something has a value at a site.

    Args:
        subject: The thing.
        values: The right value, then others that a wrong statement may name.
        site: The site.
        form: A sentence with ``{subject}``, ``{value}`` and ``{place}``.
        moved: A sentence with ``{wrong}``, ``{value}`` and ``{place}`` but not the subject: what
            had the wrong value has the right one. Empty if there is none.
        needed: Whether the task needs it.
        generator: The only source of chance.
    """
    right, others = values[0], list(values[1:])
    text = form.format(subject=subject, value=right, place=site.place)
    topic = f"the {subject} at {site.place}"
    if not others:
        return Statement(text, needed, topic)
    wrong = others[int(generator.integers(len(others)))]
    return Statement(
        text,
        needed,
        topic,
        wrong=form.format(subject=subject, value=wrong, place=site.place),
        moved=moved and moved.format(wrong=wrong, value=right, place=site.place),
    )
