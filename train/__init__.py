"""Training: three-stage trajectories and step-wise GRPO, on TRL."""
