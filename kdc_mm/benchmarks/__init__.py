"""Networks side by side: what they cost, and boards of what they reach.

Nothing here is registered, and ``import kdc_mm`` leaves it out.
"""
