"""The process that drives: looks, parks, logs pairs. It reaches no network code at all."""
