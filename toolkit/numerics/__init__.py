"""Number formats and the forward pass as pure functions over arrays. No I/O, no state.

BF16 travels as uint16 bits and FP8 as uint8 bits throughout.
"""
