"""ScienceWorld: elementary school science in a text world."""
