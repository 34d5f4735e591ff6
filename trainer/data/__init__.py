"""Labelled pictures: what counts, which are chosen, how they are kept, and how they are split.

`examples` says what counts, `selection` which of it is taken, `dataset` unpacks that, `snapshot`
keeps it, `split` holds some of it out; `recorded` reads folders.
"""
