"""What a converted file is worth: measured, compared, let through or refused.

`evaluate` measures it in LiteRT, `gates` judges the figures.
"""
