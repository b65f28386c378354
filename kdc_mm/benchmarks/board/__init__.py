"""Leaderboards: what networks reach and cost, measured, published and claimed."""
