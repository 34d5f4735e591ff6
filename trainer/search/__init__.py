"""Search: which settings learn a data set best, by trials that are stopped where they are poor.

`space` says what may vary, `study` asks and answers, `trial` is the process that trains.
"""
