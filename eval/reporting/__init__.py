"""The paper's tables and figures, from the recorded episodes of runs."""
