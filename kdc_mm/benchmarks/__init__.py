"""Codecs and networks side by side, and boards of what they reach.

Nothing here is registered, and ``import kdc_mm`` leaves it out.
"""
