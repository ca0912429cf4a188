"""Why pynode's spiral differs from the pictures of Onken & Ruthotto: one thing changed at a time, over many seeds."""
