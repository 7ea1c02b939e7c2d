"""The viewer: one self-contained HTML file that shows the episodes of a run round by round."""
