"""Short-term memory: the messages that the model sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set

from agemem_envs import prompts
from agemem_envs.episode import Message, MessageKind
from agemem_envs.summarizers import Summarizer
from agemem_envs.tokens import MESSAGE_OVERHEAD, TokenCounter

ChatMessages = list[dict[str, str]]
Similarity = Callable[[str, Sequence[str], float], Sequence[float]]
"""Compares a criterion with texts. Values of at least the number that comes last need not be
exact."""
_KEPT = frozenset({MessageKind.SYSTEM, MessageKind.QUERY})
_ARRIVING = frozenset({MessageKind.INCOMING, MessageKind.QUERY, MessageKind.OBSERVATION})


class Context:
    """The visible messages, in order, and the history of all messages.

    Args:
        counter: Counts the tokens of each message, once.
    """

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self.history: list[Message] = []
        """All messages of the episode; a message's id is its index."""
        self.messages: list[Message] = []
        """The visible ones."""
        self.tokens = 0
        """Tokens of the visible messages (T_used), chat-template overhead included."""

    def append(
        self,
        kind: MessageKind,
        content: str,
        round_: int = -1,
        before_arrival: bool = False,
        again: bool = False,
    ) -> Message:
        """Append a message, at the end or before all that the model has not replied to yet.

        Args:
            kind: The kind of message.
            content: The text.
            round_: The step during which it is written.
            before_arrival: Whether it stands before all that the model has not replied to yet.
            again: Whether an equal message that is no longer visible may be shown again. What an
                agent recalls for each of many questions is then recorded once.
        """
        earlier = self._hidden(kind, content) if again else None
        message = earlier or self._record(kind, content, round_)
        place = len(self.messages)
        while before_arrival and place and self.messages[place - 1].kind.role == "user":
            place -= 1
        self.messages.insert(place, message)
        self.tokens += message.tokens
        return message

    def _hidden(self, kind: MessageKind, content: str) -> Message | None:
        """An equal message that is not visible, or None."""
        visible = {message.id for message in self.messages}
        equal = (m for m in self.history if m.kind is kind and m.content == content)
        return next((message for message in equal if message.id not in visible), None)

    def _record(self, kind: MessageKind, content: str, round_: int) -> Message:
        tokens = self._counter.count(content) + MESSAGE_OVERHEAD
        message = Message(len(self.history), kind, content, tokens, round_)
        self.history.append(message)
        return message

    def remove(self, matches: Callable[[Message], bool]) -> list[Message]:
        """Remove the messages for which ``matches`` holds, and return them."""
        removed = [message for message in self.messages if matches(message)]
        if removed:
            gone = {message.id for message in removed}
            self.messages = [message for message in self.messages if message.id not in gone]
            self.tokens -= sum(message.tokens for message in removed)
        return removed

    def restore(self, messages: Sequence[Message]) -> None:
        """Make the given messages, which were visible before, the visible ones."""
        self.messages = list(messages)
        self.tokens = sum(message.tokens for message in messages)

    def reset(self) -> None:
        """Remove all messages but the system prompt."""
        self.remove(lambda message: message.kind is not MessageKind.SYSTEM)

    def filter(self, criteria: str, similarity: Similarity, threshold: float) -> list[Message]:
        """Remove messages similar to ``criteria``: ``C' = {u in C : sim(c, u) < theta}``.

        The system prompt, the query, the message that arrived last (incoming message, query
        or observation) and the assistant's last message stay.

        Args:
            criteria: What the messages to remove are about.
            similarity: ``sim``: the similarity of each of some texts to a criterion, in [-1, 1].
            threshold: ``theta``.

        Returns:
            The removed messages.
        """
        candidates = self.removable()
        if not candidates:
            return []
        values = similarity(criteria, [message.content for message in candidates], threshold)
        gone = {m.id for m, value in zip(candidates, values, strict=True) if value >= threshold}
        return self.remove(lambda message: message.id in gone)

    def summarize(self, last_rounds: int | None, summarizer: Summarizer) -> list[Message]:
        """Replace messages by one summary, in the place of the first of them.

        The messages that :meth:`filter` never removes stay here too: a summary must not lose
        the query.

        Args:
            last_rounds: How many of the last rounds to summarize; None for all.
            summarizer: Writes the summary.

        Returns:
            The replaced messages; empty if there was nothing to summarize.

        Raises:
            ToolError: The summarizer failed; the context is unchanged.
        """
        candidates = self.removable()
        if last_rounds is not None:
            rounds = sorted({message.round for message in candidates})[-last_rounds:]
            candidates = [message for message in candidates if message.round in rounds]
        if not candidates:
            return []
        text = summarizer.summarize([message.content for message in candidates])
        place = self.messages.index(candidates[0])
        gone = {message.id for message in candidates}
        removed = self.remove(lambda message: message.id in gone)
        summary = self._record(
            MessageKind.SUMMARY, prompts.SUMMARY.format(text=text), candidates[-1].round
        )
        self.messages.insert(place, summary)
        self.tokens += summary.tokens
        return removed

    def removable(self) -> list[Message]:
        """The messages that the agent may remove from the context."""
        spared = {self._last(_ARRIVING), self._last({MessageKind.ASSISTANT})}
        return [m for m in self.messages if m.kind not in _KEPT and m.id not in spared]

    @property
    def awaits_reply(self) -> bool:
        """Whether a message arrived and nothing was said or recalled since."""
        return self._last(_ARRIVING) > self._last({MessageKind.ASSISTANT, MessageKind.RECALLED})

    def _last(self, kinds: Set[MessageKind]) -> int:
        return next((m.id for m in reversed(self.messages) if m.kind in kinds), -1)

    def chat(self) -> ChatMessages:
        """The context as chat messages: see :func:`chat`."""
        return chat(self.messages)

    def render(self, limit: int) -> str:
        """The context as one text, at most ``limit`` characters."""
        text = "\n\n".join(f"[{m.kind.role}]\n{m.content}" for m in self.messages)
        if len(text) <= limit:
            return text
        mark = "\n[... clipped]"
        return text[: max(0, limit - len(mark))] + mark[:limit]


def chat(messages: Iterable[Message]) -> ChatMessages:
    """Messages of a context as chat messages; adjacent messages of one role are joined.

    Many chat templates require that user and assistant alternate, the user first. If the
    first user message was removed, a note replaces it.
    """
    turns: ChatMessages = []
    for message in messages:
        role = message.kind.role
        if role == "assistant" and (not turns or turns[-1]["role"] == "system"):
            turns.append({"role": "user", "content": prompts.GAP})
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += "\n\n" + message.content
        else:
            turns.append({"role": role, "content": message.content})
    return turns
