"""Codecs alone: what they can reach at best, how they bear errors of the maps, what they cost."""
