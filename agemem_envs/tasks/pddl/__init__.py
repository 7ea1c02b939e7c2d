"""PDDL: planning problems in English."""
