"""A memory system behind an MCP server, as any MCP client could use it.

The file examples/mcp_system.toml says which of its tools does what::

    agemem run --agent system:last-ten-mcp \
        --system-command "python -m agemem.baselines.mcp_bridge examples/mcp_system.toml" \
        --backbone scripted --envs AgeMem-SyntheticQA-v0 --episodes 2

It keeps the last ten messages, and finds those that share most words with the query.
"""

from mcp.server import MCPServer

server = MCPServer("last-ten")
notes: list[str] = []


@server.tool()
def add_note(content: str) -> str:
    """Keep a note."""
    notes.append(content)
    del notes[:-10]
    return "Kept."


@server.tool()
def find_notes(query: str, limit: int) -> list[str]:
    """The notes that share most words with a query."""
    wanted = set(query.lower().split())
    return sorted(notes, key=lambda text: -len(wanted & set(text.lower().split())))[:limit]


@server.tool()
def list_notes() -> list[str]:
    """All notes, oldest first."""
    return notes


if __name__ == "__main__":
    server.run("stdio")
