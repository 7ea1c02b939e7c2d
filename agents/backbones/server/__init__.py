"""An OpenAI-compatible server for a local model, with constrained JSON and tool calls."""
