"""The parts of a BabyAI mission, in the order of execution."""

from __future__ import annotations

from typing import Any

_SECOND_FIRST = "AfterInstr"
_COMPOUND = ("BeforeInstr", "AndInstr", _SECOND_FIRST)


def kind_of(instruction: Any) -> str:
    """``GoToInstr``, ``OpenInstr``, ``PickupInstr``, ``PutNextInstr``, or a compound's name."""
    return type(instruction).__name__


def parts(instruction: Any) -> list[Any]:
    """The simple instructions of a mission in order; those of an ``and`` in textual order."""
    if kind_of(instruction) not in _COMPOUND:
        return [instruction]
    first, second = _ordered(instruction)
    return parts(getattr(instruction, f"instr_{first}")) + parts(
        getattr(instruction, f"instr_{second}")
    )


def next_part(instruction: Any) -> Any:
    """The simple instruction that is next, according to the mission's verifier."""
    if kind_of(instruction) not in _COMPOUND:
        return instruction
    first, second = _ordered(instruction)
    done = getattr(instruction, f"{first}_done") == "success"
    return next_part(getattr(instruction, f"instr_{second if done else first}"))


def objects_of(instruction: Any) -> list[list[Any]]:
    """For each thing that a simple instruction names, the objects that match."""
    names = ("desc", "desc_move", "desc_fixed")
    return [getattr(instruction, name).obj_set for name in names if hasattr(instruction, name)]


def _ordered(instruction: Any) -> tuple[str, str]:
    return ("b", "a") if kind_of(instruction) == _SECOND_FIRST else ("a", "b")


def named(instruction: Any) -> tuple[str, ...]:
    """The things of a mission in order, by the colour and type that its words name."""
    slots = ("desc", "desc_move", "desc_fixed")
    meant = (getattr(part, s) for part in parts(instruction) for s in slots if hasattr(part, s))
    names = (" ".join(filter(None, (desc.color, desc.type))) for desc in meant)
    return tuple(dict.fromkeys(filter(None, names)))
