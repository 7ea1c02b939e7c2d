"""Agents: policies that act in a memory environment, and the models behind them."""
