"""The invented names and the sentences of the embedded conversations."""

from __future__ import annotations

PEOPLE = (
    "Arlen", "Bessa", "Corvin", "Delma", "Edric", "Fenja", "Garrel", "Hesper", "Ivo", "Jorun",
    "Kestra", "Lowen", "Merla", "Nevin", "Oriel", "Perrin", "Quilla", "Roswin", "Selka", "Tavin",
)  # fmt: skip
TOWNS = (
    "Ambry", "Brackwell", "Cindermoor", "Dunholt", "Eskerby", "Fallowmere", "Grisvik", "Hartlow",
    "Inverlund", "Jesmond Quay", "Kelvar", "Lorrimer", "Marrowby", "Northfen", "Ostrava Head",
    "Pellworth", "Quarne", "Ravensill", "Sallowdale", "Tolvik",
)  # fmt: skip
PETS = ("cat", "dog", "parrot", "rabbit", "pony", "hedgehog")
PET_NAMES = (
    "Biscuit", "Clover", "Domino", "Ember", "Fidget", "Gizmo", "Juniper", "Marble", "Nutmeg",
    "Pickle", "Rumba", "Saffron", "Teasel", "Waffle",
)  # fmt: skip
SKILLS = (
    "beekeeping", "pottery", "archery", "calligraphy", "sailing", "juggling", "bookbinding",
    "fencing", "woodcarving", "baking bread",
)  # fmt: skip
EVENTS = (
    ("hosted", "a street party"),
    ("opened", "a small bakery"),
    ("passed", "the pilot's exam"),
    ("planted", "an orchard"),
    ("finished", "a large mural"),
    ("performed", "at the harbour"),
)
"""Verbs in the past, and the rest of what was done."""
SMALL_TALK = (
    "How have you been?",
    "Good to hear from you!",
    "That sounds lovely, tell me more.",
    "I had a long week at work, but it is over now.",
    "The weather here has been strange lately.",
    "I am trying to sleep more and to worry less.",
    "We should meet soon, it has been too long.",
    "I have just made tea, so I have time.",
    "My neighbour plays the drums at night.",
    "I read a long book about rivers. It was slow, but good.",
    "My phone is nearly empty, so I may vanish for a moment.",
    "You always know what to say.",
    "I could not agree more.",
    "That made me laugh.",
    "I will think about it and tell you.",
    "Let us talk about it again next time.",
    "I cooked soup for the whole street.",
    "My sister sends her regards.",
    "I found an old photograph of us the other day.",
    "Nothing new here, and that is good news.",
)
MONTHS = (
    "January February March April May June July August September October November December"
).split()
