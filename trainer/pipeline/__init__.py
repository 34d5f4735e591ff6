"""A run: the steps from a data set to a judged model, what each keeps, and how they run again.

`steps` is the table of them, `folder` and `kept` hold what they make, `run` does them, `pipeline`
makes a model, `again` repeats a step with other parameters, `reproduce` the whole.
"""
