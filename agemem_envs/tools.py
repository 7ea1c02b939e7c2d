"""The six memory tools that a model calls, and their JSON schemas.

Each tool is a function of a :class:`ToolContext` (what it may read and change) and validated
keyword arguments. It returns the text that the model is shown and the effect as data. A
:class:`~agemem_envs.errors.ToolError` becomes a refused result, never an exception.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agemem_envs.context import Context, Similarity
from agemem_envs.env_settings import MAX_TOP_K
from agemem_envs.episode import MemoryItem, ToolCall, ToolResult
from agemem_envs.errors import ToolError, UnknownNameError
from agemem_envs.memory.base import Hit, LongTermMemory, MemoryNotFoundError
from agemem_envs.summarizers import Summarizer

MAX_CONTENT_CHARS = 8_192
MAX_METADATA_CHARS = 2_048
MAX_ITEMS = 1_024
MAX_RESULT_CHARS = 32_768

JsonType = Literal["string", "integer", "boolean", "object"]
Effect = tuple[str, dict[str, Any]]
"""The text that the model is shown, and what was done, as data."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What tools may read and change.

    Attributes:
        memory: Long-term memory.
        context: Short-term memory.
        similarity: Compares messages with the criterion of ``Filter_context``.
        summarizer: Writes the text of ``Summary_context``.
        filter_threshold: Least similarity of a message that ``Filter_context`` removes.
        top_k: Hits of ``Retrieve_memory`` if the model names no number.
        max_top_k: Most hits of ``Retrieve_memory``, whatever number the model names.
        memory_is_fixed: Whether long-term memory can be read only.
    """

    memory: LongTermMemory
    context: Context
    similarity: Similarity
    summarizer: Summarizer
    filter_threshold: float
    top_k: int
    max_top_k: int
    memory_is_fixed: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a tool.

    Attributes:
        name: Its name in the schema.
        type: Its JSON type.
        description: What it means; shown to the model.
        example: A valid value, for random actions.
        required: Whether a call must give it.
        aliases: Other names that are accepted.
    """

    name: str
    type: JsonType
    description: str
    example: Any = None
    required: bool = True
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.required and self.example is None:
            raise ValueError(f"the required parameter {self.name!r} has no example")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its name and schema for the model, and the function behind it."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    function: Callable[..., Effect]
    target: Literal["ltm", "stm"]

    @property
    def schema(self) -> dict[str, Any]:
        """Name, description and a JSON schema of the arguments."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": {
                "type": "object",
                "properties": {
                    p.name: {"type": p.type, "description": p.description} for p in self.parameters
                },
                "required": [p.name for p in self.parameters if p.required],
            },
        }

    @property
    def example(self) -> dict[str, Any]:
        """Valid arguments: an example of each required parameter."""
        return {p.name: p.example for p in self.parameters if p.required}

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Check arguments, and return them under their own names and types.

        Raises:
            ToolError: An argument is missing, unknown or of the wrong type.
        """
        given = dict(arguments)
        values = {}
        for parameter in self.parameters:
            names = [n for n in (parameter.name, *parameter.aliases) if n in given]
            spellings = [given.pop(name) for name in names]
            if spellings and spellings[0] is not None:
                values[parameter.name] = _coerce(parameter, spellings[0])
            elif parameter.required:
                raise ToolError(f"missing argument {parameter.name!r} ({parameter.type})")
        if given:
            unknown = str(next(iter(given)))[:40]
            known = ", ".join(p.name for p in self.parameters)
            raise ToolError(f"unknown argument {unknown!r}; the arguments are: {known}")
        return values


def _coerce(parameter: Parameter, value: Any) -> Any:
    """Convert a value to the parameter's type; 2, 2.0 and "2" are whole numbers."""
    kind = parameter.type
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if kind == "string" and isinstance(value, (str, int)) and not isinstance(value, bool):
        return _limited(parameter.name, str(value), MAX_CONTENT_CHARS)
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "object" and isinstance(value, dict):
        _limited(parameter.name, json.dumps(value), MAX_METADATA_CHARS)
        return value
    if kind == "integer" and not isinstance(value, bool):
        if isinstance(value, int):
            return value
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
            return int(_limited(parameter.name, value.strip(), 18))
    raise ToolError(f"argument {parameter.name!r} must be of type {kind}")


def _limited(name: str, text: str, limit: int) -> str:
    if len(text) > limit:
        raise ToolError(f"argument {name!r} has {len(text)} characters, the limit is {limit}")
    return text


def add_memory(
    ctx: ToolContext,
    content: str,
    metadata: dict[str, Any] | None = None,
    memory_type: str | None = None,
) -> Effect:
    """Store ``content``. Data: ``memory_id``, ``content``."""
    if not content.strip():
        raise ToolError("content is empty")
    if len(ctx.memory) >= MAX_ITEMS:
        raise ToolError(f"the memory is full ({MAX_ITEMS} items); delete some first")
    item = ctx.memory.add(content, metadata, memory_type)
    return f"stored as {item.id}", {"memory_id": item.id, "content": content}


def update_memory(
    ctx: ToolContext, memory_id: str, content: str, metadata: dict[str, Any] | None = None
) -> Effect:
    """Replace an item's content. Data: ``memory_id``, ``content``, ``before``."""
    if not content.strip():
        raise ToolError("content is empty; use Delete_memory to remove an item")
    before = _existing(ctx.memory, memory_id)
    item = ctx.memory.update(before.id, content, metadata)
    data = {"memory_id": item.id, "content": content, "before": before.content}
    return f"updated {item.id}", data


def delete_memory(ctx: ToolContext, memory_id: str, confirmation: bool) -> Effect:
    """Remove an item. Data: ``memory_id``, ``before``."""
    if not confirmation:
        raise ToolError("not deleted: confirmation must be true")
    item = ctx.memory.delete(_existing(ctx.memory, memory_id).id)
    return f"deleted {item.id}", {"memory_id": item.id, "before": item.content}


def retrieve_memory(
    ctx: ToolContext,
    query: str,
    top_k: int | None = None,
    metadata_filter: dict[str, Any] | None = None,
) -> Effect:
    """Show the items most similar to ``query``. Data: ``query``, ``items`` (id, content, score)."""
    wanted = ctx.top_k if top_k is None else top_k
    if not 1 <= wanted <= MAX_TOP_K:
        raise ToolError(f"top_k must be between 1 and {MAX_TOP_K}, got {str(wanted)[:20]}")
    hits = ctx.memory.search(query, min(wanted, ctx.max_top_k), metadata_filter)
    items = [{"memory_id": h.item.id, "content": h.item.content, "score": h.score} for h in hits]
    return render_hits(hits) or "no memories found", {"query": query, "items": items}


def summary_context(ctx: ToolContext, span: str) -> Effect:
    """Replace messages by a summary. Data: ``removed`` (message ids), ``tokens_saved``."""
    word = span.strip().lower()
    rounds: int | None = None
    if word not in ("all", "full"):
        if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) > 0):
            raise ToolError(f'span must be "all" or a positive number, got {span[:20]!r}')
        rounds = int(word)
    before = ctx.context.tokens
    removed = ctx.context.summarize(rounds, ctx.summarizer)
    saved = before - ctx.context.tokens
    data = {"removed": [message.id for message in removed], "tokens_saved": saved}
    if not removed:
        return "there was nothing to summarise", data
    return f"{len(removed)} messages replaced by a summary ({saved} tokens saved)", data


def filter_context(ctx: ToolContext, criteria: str) -> Effect:
    """Remove messages similar to ``criteria``. Data: ``removed``, ``tokens_saved``."""
    if not criteria.strip():
        raise ToolError("criteria is empty")
    before = ctx.context.tokens
    removed = ctx.context.filter(criteria, ctx.similarity, ctx.filter_threshold)
    saved = before - ctx.context.tokens
    data = {"removed": [message.id for message in removed], "tokens_saved": saved}
    return f"{len(removed)} messages removed ({saved} tokens saved)", data


def render_hits(hits: Sequence[Hit]) -> str:
    """Search results as the model sees them: one line each, the contents verbatim."""
    return "\n".join(f"[{hit.item.id}] ({hit.score:.2f}) {hit.item.content}" for hit in hits)


def _existing(memory: LongTermMemory, memory_id: str) -> MemoryItem:
    try:
        return memory.get(memory_id.strip())
    except MemoryNotFoundError as error:
        raise ToolError(str(error)) from error


_ID = Parameter("memory_id", "string", "Id of the memory, as in [m1].", "m1")
_METADATA = Parameter("metadata", "object", "Key-value pairs to keep with it.", required=False)

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            "Add_memory",
            "Store something in long-term memory.",
            (
                Parameter(
                    "content",
                    "string",
                    "What to remember, as one complete statement.",
                    "The old river is near the town.",
                ),
                _METADATA,
                Parameter("memory_type", "string", "A label, such as fact.", required=False),
            ),
            add_memory,
            "ltm",
        ),
        Tool(
            "Update_memory",
            "Replace the content of a long-term memory.",
            (
                _ID,
                Parameter(
                    "content",
                    "string",
                    "The new content.",
                    "The old river is near the red town.",
                ),
                _METADATA,
            ),
            update_memory,
            "ltm",
        ),
        Tool(
            "Delete_memory",
            "Remove a long-term memory for good.",
            (
                _ID,
                Parameter("confirmation", "boolean", "Must be true.", True, aliases=("confirmed",)),
            ),
            delete_memory,
            "ltm",
        ),
        Tool(
            "Retrieve_memory",
            "Bring the most similar long-term memories into the context.",
            (
                Parameter("query", "string", "What to look for.", "Which river is near the town?"),
                Parameter("top_k", "integer", "How many, 1 to 10.", required=False),
                Parameter("metadata_filter", "object", "Only with these values.", required=False),
            ),
            retrieve_memory,
            "ltm",
        ),
        Tool(
            "Summary_context",
            "Replace messages of the context by a summary.",
            (Parameter("span", "string", '"all", or a number: the last so many rounds.', "all"),),
            summary_context,
            "stm",
        ),
        Tool(
            "Filter_context",
            "Remove messages about something from the context.",
            (
                Parameter(
                    "criteria",
                    "string",
                    "What the messages to remove are about.",
                    "the song of the green river",
                ),
            ),
            filter_context,
            "stm",
        ),
    )
}
"""All tools by name, in the paper's order."""

TOOL_SETS: dict[str, tuple[str, ...]] = {
    "all": tuple(TOOLS),
    "ltm": tuple(name for name, tool in TOOLS.items() if tool.target == "ltm"),
    "stm": tuple(name for name, tool in TOOLS.items() if tool.target == "stm"),
    "none": (),
}
"""Names for the ``tools`` argument of the environment."""

REDUCING_TOOLS = ("Summary_context", "Filter_context")
"""The tools that make the context smaller."""
WRITING_TOOLS = ("Add_memory", "Update_memory", "Delete_memory")
"""The tools that change long-term memory."""
FIXED = "long-term memory cannot be changed while questions are asked"


def choose_tools(spec: str | Sequence[str]) -> dict[str, Tool]:
    """Return the tools of a named set, or of a list of tool names.

    Raises:
        UnknownNameError: No set or tool has this name.
    """
    if isinstance(spec, str):
        if spec not in TOOL_SETS:
            raise UnknownNameError("tool set", spec, TOOL_SETS)
        spec = TOOL_SETS[spec]
    for name in spec:
        if name not in TOOLS:
            raise UnknownNameError("tool", name, TOOLS)
    return {name: tool for name, tool in TOOLS.items() if name in spec}


def execute(call: ToolCall, tools: Mapping[str, Tool], ctx: ToolContext) -> ToolResult:
    """Carry out one call. An error of the model becomes a refused result."""
    try:
        if call.name not in tools:
            raise ToolError(str(UnknownNameError("tool", call.name[:40], tools)))
        if ctx.memory_is_fixed and call.name in WRITING_TOOLS:
            raise ToolError(FIXED)
        tool = tools[call.name]
        text, data = tool.function(ctx, **tool.validate(call.arguments))
    except ToolError as error:
        return ToolResult(call.name, ok=False, text=f"error: {error}")
    if len(text) > MAX_RESULT_CHARS:
        text = text[:MAX_RESULT_CHARS] + " [... clipped]"
    return ToolResult(call.name, ok=True, text=text, data=data)


def short_name(tool: str) -> str:
    """``Add_memory`` -> ``add``."""
    return tool.partition("_")[0].lower()
