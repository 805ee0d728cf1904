"""Checkpoint folders as they are: headers, mapped tensors, streamed writing, and a census of what is inside."""
