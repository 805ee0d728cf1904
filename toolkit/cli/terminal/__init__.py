"""The terminal of ``trtkit chat``: its commands, what it shows, and the loop between them."""
