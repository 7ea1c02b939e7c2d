"""The viewer: one self-contained HTML file in which a run's episodes can be read round by round."""
