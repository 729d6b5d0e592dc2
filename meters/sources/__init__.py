"""Ways in by file and by stream: what the rows of other people's files mean as usage events."""
