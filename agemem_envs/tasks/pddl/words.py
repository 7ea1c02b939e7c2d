"""The messages of the memory style: which objects a family's words stand for, at several places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agemem_envs.tasks.amounts import Amounts
from agemem_envs.tasks.base import Fact, Talk
from agemem_envs.tasks.pddl.jobs import Job, JobRules, draw_alike, drawn
from agemem_envs.tasks.pddl.world import Problem
from agemem_envs.tasks.sites import Site, draw_sites, link, placed
from agemem_envs.tasks.telling import Statement, both_stages, tell

SITES = 5
"""Places of which stage 1 tells; the first one drawn is the job's."""
FAR_SITES = 7
"""Places of which only stage 2 tells."""
A_DISTRACTOR = 12
"""Statements in one message of stage 2."""

WORDS = tuple(
    (
        "badger beaver bison camel cobra condor coyote cricket donkey eagle ferret finch gecko "
        "gibbon goose hamster heron hornet hyena iguana jackal jaguar koala lemur leopard lizard "
        "llama lobster magpie marten mole monkey otter oyster panda panther parrot pelican pigeon "
        "puma rabbit salmon seal sparrow spider squid stork swan tiger toad trout turtle viper "
        "walrus weasel wombat wren zebra"
    ).split()
)
MAX_FACTS = SITES * (len(WORDS) + 1)
"""Most statements that stage 1 can make."""

DONE_AT = "The job of the {owner} family is done at {place}."
STANDS_FOR = "At {place}, the {subject} stands for {value}."
INSTEAD = "At {place}, the word that I said stands for {wrong} stands for {value}."


@dataclass(frozen=True, slots=True)
class Words:
    """What is told about a job.

    Attributes:
        owner: The family whose job it is.
        words: The words for the job's objects, in their order.
        knowledge: The messages of stage 1.
        distractors: The messages of stage 2.
    """

    owner: str
    words: tuple[str, ...]
    knowledge: tuple[Talk, ...]
    distractors: tuple[Talk, ...]


@dataclass(frozen=True, slots=True)
class Meanings:
    """What the words stand for at one place.

    Attributes:
        objects: The object of each word.
        wrong: An object that may be told wrongly for a word. No two words have the same one, and
            no word stands for it, so that it tells which word is meant.
    """

    objects: Mapping[str, str]
    wrong: Mapping[str, str]


def make_words(
    job: Job,
    rules: JobRules,
    problem: Problem,
    amounts: Amounts,
    generator: np.random.Generator,
) -> Words:
    """Tell what the words of a job stand for, and of other places' words in between.

    Args:
        job: The job.
        rules: Of the problem's domain.
        problem: The problem at its start.
        amounts: How much is told; at most :data:`MAX_FACTS` facts.
        generator: The only source of chance.
    """
    sites = draw_sites(SITES + FAR_SITES, generator)
    count = max(-(-amounts.facts // SITES) - 1, len(job.named))
    words = [WORDS[index] for index in generator.permutation(len(WORDS))[:count]]
    groups = rules.groups(problem)
    needed = words[: len(job.named)]
    # The words make sense at every place, and elsewhere any of them may change.
    meanings = [make_meanings(job, words, needed, groups, generator)]
    for _ in sites[1:]:
        other = draw_alike(rules, problem, job, generator) or rules.draw(problem, generator)
        meanings.append(make_meanings(other, words, words, groups, generator))
    statements = [
        statement
        for site, meaning in zip(sites[:SITES], meanings, strict=False)
        for statement in _about(site, meaning, needed if site is sites[0] else (), generator)
    ]
    told = tell([[statement] for statement in statements], amounts.updates, generator)
    # Most of the goal's words are missing in stage 2, whose messages alone hardly hold all of them.
    missing = drawn(generator, needed)[len(needed) // 3 :]
    common = [word for word in words if word not in missing]
    far = [
        _distractor(
            sites[SITES + index % FAR_SITES],
            meanings[SITES + index % FAR_SITES],
            common,
            generator,
        )
        for index in range(amounts.distractors)
    ]
    knowledge, talks = both_stages(told.knowledge, far, told.late, generator)
    return Words(sites[0].owner, tuple(needed), knowledge, talks)


def make_meanings(
    job: Job,
    words: Sequence[str],
    changing: Sequence[str],
    groups: Sequence[Sequence[str]],
    generator: np.random.Generator,
) -> Meanings:
    """Let the first words stand for a job's objects, and the others for any object.

    Args:
        job: The job that is done at the place.
        words: At least as many as the job has objects.
        changing: Those of the words that may be told wrongly.
        groups: The objects that words may stand for, those of a kind together.
        generator: The only source of chance.
    """
    spare = [_spare(job, group, generator) for group in groups]
    taken = {name for names in spare for name in names}
    pool = [name for group in groups for name in group if name not in taken]
    objects = dict(zip(words, job.named, strict=False))
    for word in words[len(objects) :]:
        objects[word] = pool[int(generator.integers(len(pool)))]
    wrong: dict[str, str] = {}
    for group, names in zip(groups, spare, strict=True):
        open_ = [w for w in changing if objects[w] in group and objects[w] not in job.firm]
        wrong |= dict(zip(drawn(generator, open_), names, strict=False))
    return Meanings(objects, wrong)


def _spare(job: Job, group: Sequence[str], generator: np.random.Generator) -> list[str]:
    """Objects of a group that may be told wrongly: one for each that the job names, if possible."""
    named = [name for name in group if name in job.named and name not in job.firm]
    return drawn(generator, [name for name in group if name not in job.named], len(named))


def _about(
    site: Site, meanings: Meanings, needed: Sequence[str], generator: np.random.Generator
) -> list[Statement]:
    """The statements about a place: whose job is done there, and each word's object."""
    statements = [link(site, DONE_AT, bool(needed))]
    for word, name in meanings.objects.items():
        values = [name, *(w for w in [meanings.wrong.get(word)] if w)]
        statements.append(
            placed(f"word {word}", values, site, STANDS_FOR, INSTEAD, word in needed, generator)
        )
    return statements


def _distractor(
    site: Site, meanings: Meanings, words: Sequence[str], generator: np.random.Generator
) -> Talk:
    """A long message about a place of which stage 1 does not tell."""
    chosen = drawn(generator, words)[: A_DISTRACTOR - 1]
    texts = [DONE_AT.format(owner=site.owner, place=site.place)]
    texts += [
        STANDS_FOR.format(place=site.place, subject=f"word {word}", value=meanings.objects[word])
        for word in chosen
    ]
    texts = drawn(generator, texts)
    return Talk(" ".join(texts), tuple(map(Fact, texts)))
