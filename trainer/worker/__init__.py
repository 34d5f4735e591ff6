"""Work for a fleet server: jobs are claimed, models signed and handed in.

`client` is the server as we see it, `worker` does jobs, `resume` goes on after a kill, `sign`
releases a model.
"""
