"""The names of the similarities; without torch, for whoever only lists them."""

NAMES = ("lg", "gc", "ncc", "lcc", "mi", "nmi", "mind", "l1", "l2", "cauchy")
ALIASES = {"gradient_correlation": "gc"}
