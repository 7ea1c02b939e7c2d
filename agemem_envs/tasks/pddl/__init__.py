"""PDDL: planning problems, played in English."""
