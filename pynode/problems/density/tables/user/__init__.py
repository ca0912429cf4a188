"""Tables of the user's own: --data FILE."""
