"""Gradient tools for any problem, any method and a user's own module: is this gradient right, and what does it cost?"""
