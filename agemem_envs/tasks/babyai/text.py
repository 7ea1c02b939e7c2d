"""Observations of BabyAI in AgentBoard's sentences."""

from __future__ import annotations

from agemem_envs.tasks.babyai.world import Game, Sight, Spot, field_of_view, name_of, name_sights


def describe(game: Game) -> str:
    """Describe the view in an unwrapped minigrid environment."""
    return render_view(game, field_of_view(game))


def render_view(game: Game, spots: list[Spot]) -> str:
    """Describe the view, given the visible cells."""
    return objects_seen(spots) + surroundings(game, spots)


def objects_seen(spots: list[Spot]) -> str:
    """List the visible objects."""
    objects = "".join(f" There is a {sight} {_place(sight)}. " for sight in name_sights(spots))
    return f"In front of you in this room, you can see several objects:{objects} "


def surroundings(game: Game, spots: list[Spot]) -> str:
    """State the walls, what the player faces, and what it carries."""
    return f"The room has walls around you.{_facing(spots)} {_carrying(game)}"


def _carrying(game: Game) -> str:
    """State what the player carries."""
    if game.carrying is None:
        return "You are not carrying anything."
    return f"You are carrying a {name_of(game.carrying)}."


def _place(sight: Sight) -> str:
    """State where an object is, as seen by the player."""
    ahead, right = sight.spot.ahead, sight.spot.right
    if right == 0:
        return f"right in front of you {ahead} steps away"
    side = "left" if right < 0 else "right"
    return f"{ahead} steps in front of you and {abs(right)} steps to your {side}"


def _facing(spots: list[Spot]) -> str:
    """State the first wall or box straight ahead; AgentBoard ignores closed doors there."""
    for spot in spots:
        if spot.right == 0 and spot.ahead and spot.thing is not None:
            if spot.thing.type in ("wall", "box"):
                return f" You are facing a {spot.thing.type} {spot.ahead} steps away."
            if not spot.thing.see_behind():
                return ""
    return ""
