"""Knows min_p, repetition_penalty, presence_penalty and frequency_penalty by name."""
