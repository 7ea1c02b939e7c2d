"""The tiny policy: how its tokenizer splits names."""

from __future__ import annotations

from agemem.train.tiny import PieceCounter, train_tokenizer

TEXTS = ["Vosath is a town in the region of Kraeliath, founded in 1018 by Toar Nilosk."] * 3
CONSTANT = "You are an assistant."


def test_a_name_is_two_tokens_and_the_text_between_names_one() -> None:
    tokenizer = train_tokenizer(TEXTS, [CONSTANT], 400)
    ids = tokenizer(TEXTS[0])["input_ids"]
    pieces = [tokenizer.decode([one]) for one in ids]
    assert pieces == [
        "Vos", "ath", " is a town in the region of ", "Krael", "iath", ", founded in ", "10", "18",
        " by ", "Toar", " ", "Nil", "osk", ".",
    ]  # fmt: skip
    assert PieceCounter().count(TEXTS[0]) == len(ids)
    assert len(tokenizer(CONSTANT)["input_ids"]) == 1
    other = "The river Maeskox, é <|im_end|>"
    assert tokenizer.decode(tokenizer(other, split_special_tokens=True)["input_ids"]) == other
