"""From pictures to a network, and from a network to a full-int8 file.

`network` has the variants, `augment` varies pictures, `likelihood` is what is minimised, `rounds`
says how long, `fit` trains, `calibrate` makes sigma true, `quantise` converts.
"""
