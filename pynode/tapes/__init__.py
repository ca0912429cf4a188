"""Vector fields as tapes: the few operations that a captured module consists of."""
