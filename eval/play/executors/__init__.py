"""Where a run's episodes are played: in this process, in others, on a cluster."""
