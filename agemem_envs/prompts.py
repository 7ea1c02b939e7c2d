"""The texts that this package writes for a model to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

SYSTEM = """\
You are an assistant who remembers. You have a short-term context, which is what you can \
read here, and {memory}. The context holds at most {budget} tokens and is emptied at \
times; {kept}

{course}{advice}

Write every reply in exactly this form, with nothing outside the tags:
<think>your reasoning</think> followed by ONE of
{forms}"""

COURSE_TALK = "First someone tells you things, without a question. Later comes a task."
COURSE_TASK = "You are given a task."
MEMORY_ON = "a long-term memory, which you manage with tools"
MEMORY_OFF = "no long-term memory tools"
KEPT_ON = "only what you stored in long-term memory is certain to stay."
KEPT_OFF = "what was said before may be lost."
ADVICE = {
    "ltm": (
        " Store what may matter later in memory, keep memory correct and free of what is "
        "useless, and retrieve from it before you answer."
    ),
    "stm": " Remove or summarise what does not help.",
}
FORM_TOOLS = '<tool_call>[{"name": "tool", "arguments": {...}}, ...]</tool_call>'
FORM_ANSWER = (
    "<answer>your answer: a short acknowledgement while you are being told things; for a "
    "question, only the answer itself, in as few words as possible; in a world, one "
    "action</answer>"
)
TOOLS = "\n\nTools:\n"

INCOMING = (
    "By the way, I came across this: {text}",
    "Here is something I read today. {text}",
    "Did you know? {text}",
    "I was just told the following. {text}",
    "Let me share this with you: {text}",
    "This came up in a conversation: {text}",
)
"""Templates of casual messages; an episode's generator picks one for each message."""

QUESTION = "Answer this question: {query}"
GOAL = "Your task: {query}"
ACTION_LIMIT = " You can take {count} actions."
ADMISSIBLE = "Actions you can take now: {actions}."
AND_MORE = ", and {count} more"
MEMORIES = "Memories that may relate to the next message:"
RECALLED = "What you remember that may help:\n{memories}"
GAP = "[Earlier messages were removed.]"
SUMMARY = "Summary of earlier messages: {text}"
TOOL_RESPONSE = "<tool_response>\n{text}\n</tool_response>"
MALFORMED = (
    "Your reply was not understood: {reason}. Reply with <think>...</think> followed by "
    "either <tool_call>[...]</tool_call> or <answer>...</answer>."
)


def system_prompt(schemas: Sequence[dict[str, Any]], budget: int, with_stage_messages: bool) -> str:
    """Make the system prompt of an episode.

    Args:
        schemas: The schemas of the available tools.
        budget: T_max in tokens.
        with_stage_messages: Whether stages 1 and 2 precede the task.
    """
    names = {schema["name"] for schema in schemas}
    ltm = any(name.endswith("_memory") for name in names)
    stm = any(name.endswith("_context") for name in names)
    forms = ([FORM_TOOLS] if names else []) + [FORM_ANSWER]
    text = SYSTEM.format(
        memory=MEMORY_ON if ltm else MEMORY_OFF,
        kept=KEPT_ON if ltm else KEPT_OFF,
        budget=budget,
        course=COURSE_TALK if with_stage_messages else COURSE_TASK,
        advice=(ADVICE["ltm"] if ltm else "") + (ADVICE["stm"] if stm else ""),
        forms="\n".join(forms),
    )
    return text + (TOOLS + "\n".join(map(json.dumps, schemas)) if names else "")


def without_end(text: str) -> str:
    """What tools reply, without the mark of its end, which a model may have written into it."""
    return text.replace("</tool_response>", "</ tool_response>")
