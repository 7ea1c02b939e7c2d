"""Question answering: HotpotQA and SyntheticQA."""
