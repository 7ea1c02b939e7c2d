"""Generates fictional worlds and multi-hop questions about them.

A world has towns, people, organisations and works with consistent relations: a teacher is
older than the pupil, founders and authors are adults when they found and write. Each entity
has a paragraph whose sentences state its relations. A question walks a path of relations
from a named entity (bridge), or first chooses between two named ones by their dates
(comparison). All names are invented.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from agemem_envs.tasks.qa.record import Paragraph, QARecord

VERSION = "1"
"""Raise it when the same id gives another question than before."""
PARAGRAPHS = 10
LEVELS = {2: "easy", 3: "medium", 4: "hard"}
"""HotpotQA's level by the number of gold paragraphs."""
COMPARISONS = {
    "person": "the one who was born first",
    "organisation": "the one that was founded first",
    "work": "the one that appeared first",
}
"""The phrase by which a question chooses between two entities of a kind."""

_ONSETS = ("b br c ch d dr f fl g gr h j k kr l m n p pr qu r s sh sk st t th tr v w y z").split()
_VOWELS = ("a e i o u ae ei ia oa ou").split()
_CODAS = ("l m n r s t x nd lk rn sk th ld mp rv").split()
_GENRES = ("novel", "play", "opera", "epic poem", "film", "collection of essays")
_FIELDS = ("glassmaking", "astronomy", "river trade", "bookbinding", "map making", "botany")
_TRADES = ("engraver", "botanist", "clockmaker", "violinist", "surveyor", "chemist", "sculptor")
_BODIES = ("Society", "Institute", "Company", "Guild")


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation of an entity to another entity, or to a name without a paragraph.

    Attributes:
        phrase: A noun phrase for the target, with ``{}`` for the entity.
        sentence: Index of the sentence in the entity's paragraph that states the relation.
        target: The target's name.
    """

    phrase: str
    sentence: int
    target: str


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity of a world.

    Attributes:
        kind: ``town``, ``person``, ``organisation`` or ``work``.
        name: Its name, also the title of its paragraph.
        intro: The phrase by which a question introduces it.
        year: The year of birth, foundation or appearance.
        dated_by: Index of the sentence that states the year.
        sentences: Its paragraph.
        relations: The relations that the sentences state.
    """

    kind: str
    name: str
    intro: str
    year: int
    dated_by: int
    sentences: tuple[str, ...]
    relations: tuple[Relation, ...]

    @property
    def paragraph(self) -> Paragraph:
        """Title and sentences."""
        return self.name, self.sentences


FictionalWorld = dict[str, Entity]


class _Names:
    """Makes invented words, none of which contains another."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._taken: list[str] = []

    def word(self) -> str:
        parts = (_ONSETS, _VOWELS, _CODAS, _VOWELS, _CODAS)
        while True:
            word = "".join(map(self._chance.choice, parts))
            if not any(word in taken or taken in word for taken in self._taken):
                self._taken.append(word)
                return word.capitalize()


def make_world(chance: Random) -> FictionalWorld:
    """Make a world of 8 towns, 12 people, 6 organisations and 10 works."""
    names = _Names(chance)
    towns = [_town(names, chance) for _ in range(8)]
    people: list[Entity] = []
    for year in sorted(chance.sample(range(1700, 1900), 12)):
        people.append(_person(names, chance, year, towns, people))
    bodies = [_organisation(names, chance, towns, people) for _ in range(6)]
    works = [_work(names, chance, towns, people) for _ in range(10)]
    return {entity.name: entity for entity in (*towns, *people, *bodies, *works)}


def _town(names: _Names, chance: Random) -> Entity:
    name, region, river = names.word(), names.word(), names.word()
    year = chance.randrange(900, 1600)
    return Entity(
        "town",
        name,
        f"the town of {name}",
        year,
        0,
        (
            f"{name} is a town in the region of {region}, founded in {year}.",
            f"The river {river} flows through {name}.",
            f"{name} is known for its {chance.choice(_FIELDS)}.",
        ),
        (
            Relation("the region in which {} lies", 0, region),
            Relation("the river that flows through {}", 1, river),
        ),
    )


def _person(
    names: _Names, chance: Random, year: int, towns: list[Entity], elders: list[Entity]
) -> Entity:
    name = f"{names.word()} {names.word()}"
    birthplace, home = (town.name for town in chance.sample(towns, 2))
    sentences = [
        f"{name} was born in {birthplace} in {year}.",
        f"{name} worked as a {chance.choice(_TRADES)}.",
        f"{name} spent the last years of life in {home}.",
    ]
    relations = [
        Relation("the town where {} was born", 0, birthplace),
        Relation("the town where {} spent the last years of life", 2, home),
    ]
    teachers = [elder for elder in elders if elder.year + 15 <= year]
    if teachers:
        teacher = chance.choice(teachers).name
        sentences.append(f"{name} was a pupil of {teacher}.")
        relations.append(Relation("the teacher of {}", 3, teacher))
    return Entity("person", name, name, year, 0, tuple(sentences), tuple(relations))


def _organisation(
    names: _Names, chance: Random, towns: list[Entity], people: list[Entity]
) -> Entity:
    name, founder, seat = (
        f"{names.word()} {chance.choice(_BODIES)}",
        chance.choice(people),
        chance.choice(towns).name,
    )
    year = founder.year + chance.randrange(20, 60)
    return Entity(
        "organisation",
        name,
        f"the {name}",
        year,
        0,
        (
            f"The {name} was founded in {year} by {founder.name}.",
            f"The seat of the {name} is in {seat}.",
            f"The {name} is devoted to {chance.choice(_FIELDS)}.",
        ),
        (
            Relation("the founder of {}", 0, founder.name),
            Relation("the town where {} has its seat", 1, seat),
        ),
    )


def _work(names: _Names, chance: Random, towns: list[Entity], people: list[Entity]) -> Entity:
    name, author, setting = (
        f"The {names.word()} of {names.word()}",
        chance.choice(people),
        chance.choice(towns).name,
    )
    year, genre = author.year + chance.randrange(20, 60), chance.choice(_GENRES)
    return Entity(
        "work",
        name,
        f'the {genre} "{name}"',
        year,
        1,
        (
            f'"{name}" is a work by {author.name}; its form is the {genre}.',
            f'"{name}" appeared in {year}.',
            f'"{name}" is set in {setting}.',
        ),
        (
            Relation("the author of {}", 0, author.name),
            Relation("the town in which {} is set", 2, setting),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Path:
    """A question under construction.

    Attributes:
        phrase: The noun phrase so far.
        at: The name that the phrase denotes.
        used: The (title, sentence index) pairs that it uses.
    """

    phrase: str
    at: str
    used: tuple[tuple[str, int], ...] = ()

    @property
    def gold(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(title for title, _ in self.used))


@dataclass(frozen=True, slots=True)
class FictionalQuestion:
    """A question and where it comes from.

    Attributes:
        record: The question.
        world: Its world.
        used: The (title, sentence index) pairs by which the question is answered, in order: of a
            comparison first the two that state the years, then one for each relation.
    """

    record: QARecord
    world: FictionalWorld
    used: tuple[tuple[str, int], ...]


def make_record(task_id: str, seed: str) -> QARecord:
    """Make the question with this seed, the same in every process.

    Args:
        task_id: The id of the record.
        seed: Any text.
    """
    return make_question(task_id, seed).record


def make_question(task_id: str, seed: str, level: str | None = None) -> FictionalQuestion:
    """Make the question with this seed, together with its world.

    Args:
        task_id: The id of the record.
        seed: Any text.
        level: One of :data:`LEVELS`; None leaves it to chance.
    """
    chance = Random(f"{VERSION}/{seed}")
    while True:
        world = make_world(chance)
        drawn = chance.choice(list(LEVELS))
        hops = next((count for count, name in LEVELS.items() if name == level), drawn)
        compares = chance.random() < 0.4
        for _ in range(50):
            path = _draw_path(world, hops, compares, chance)
            record = path and _fair_record(task_id, world, path, chance, compares)
            if path and record:
                return FictionalQuestion(record, world, path.used)


def make_brief(question: FictionalQuestion) -> FictionalQuestion:
    """The same question in a world whose paragraphs say little else than such questions ask.

    Of each kind of entity, all paragraphs keep the sentences that the question uses of this kind,
    or else the first. So those that are not needed say the like of others. What is left out is
    empty: the other sentences keep their indices.
    """
    used: dict[str, set[int]] = {}
    for title, index in question.used:
        used.setdefault(question.world[title].kind, set()).add(index)
    world = {
        name: _keeping(entity, used.get(entity.kind, set()))
        for name, entity in question.world.items()
    }
    context = tuple(world[title].paragraph for title, _ in question.record.context)
    return replace(question, world=world, record=replace(question.record, context=context))


def _keeping(entity: Entity, kept: set[int]) -> Entity:
    """The entity with these sentences alone; with the first if it has none of them."""
    chosen = kept & set(range(len(entity.sentences))) or {0}
    sentences = (text if at in chosen else "" for at, text in enumerate(entity.sentences))
    return replace(entity, sentences=tuple(sentences))


def _draw_path(world: FictionalWorld, hops: int, compares: bool, chance: Random) -> _Path | None:
    """Draw a path over ``hops`` gold paragraphs; None at a dead end."""
    start = chance.choice(list(world.values()))
    path = _compare(world, start, chance) if compares else _Path(start.intro, start.name)
    while path and (len(path.gold) < hops or path.at in path.phrase):
        path = _walk(world, path, chance)
    return path


def _compare(world: FictionalWorld, first: Entity, chance: Random) -> _Path | None:
    """Begin a path at the earlier of two entities of one kind, which it names both."""
    rivals = [e for e in world.values() if e.kind == first.kind and e.year != first.year]
    if first.kind not in COMPARISONS or not rivals:
        return None
    second = chance.choice(rivals)
    earlier = min(first, second, key=lambda entity: entity.year)
    return _Path(
        f"{COMPARISONS[first.kind]} of {first.intro} and {second.intro}",
        earlier.name,
        ((first.name, first.dated_by), (second.name, second.dated_by)),
    )


def _walk(world: FictionalWorld, path: _Path, chance: Random) -> _Path | None:
    """Extend a path by one relation; None if it ends here or would cross itself."""
    if path.at not in world:
        return None
    relation = chance.choice(world[path.at].relations)
    if relation.target in path.phrase or relation.target in path.gold:
        return None
    used = (*path.used, (path.at, relation.sentence))
    return _Path(relation.phrase.format(path.phrase), relation.target, used)


def _fair_record(
    task_id: str, world: FictionalWorld, path: _Path, chance: Random, compares: bool
) -> QARecord | None:
    """Make the question of a path; None if it contains its answer, or if too many paragraphs do."""
    question = f"What is the name of {path.phrase}?"
    others = [
        entity
        for entity in world.values()
        if entity.name not in path.gold and path.at not in " ".join(entity.sentences)
    ]
    missing = PARAGRAPHS - len(path.gold)
    if path.at.lower() in question.lower() or len(others) < missing:
        return None
    context = [world[title] for title in path.gold] + chance.sample(others, missing)
    chance.shuffle(context)
    return QARecord(
        id=task_id,
        question=question,
        answer=path.at,
        supporting_facts=tuple(dict.fromkeys(path.used)),
        context=tuple(entity.paragraph for entity in context),
        type="comparison" if compares else "bridge",
        level=LEVELS[len(path.gold)],
    )
