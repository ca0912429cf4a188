"""Tables: flows on rows of numbers, the public sets and a user's own."""
