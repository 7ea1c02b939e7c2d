"""The paper's tables and figures, made from the recorded episodes of runs."""
