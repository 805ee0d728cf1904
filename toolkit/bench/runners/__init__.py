"""What measures a point: each runner behind one protocol, and never two of them in one curve."""
