"""ScienceWorld: school science experiments in a text world."""
